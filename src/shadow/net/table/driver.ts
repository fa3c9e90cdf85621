/** What lives in the direct device's driver. */
import { type AttributeGroup, group } from './row.ts';

export const DRIVER: AttributeGroup = group({
  title: 'The driver',
  intro:
    'Of the direct device itself, hence replayed on each new one, while it is down where a change would take the link down. A value that is only what the old driver begins with was nobody’s choice: sizes and the like are then left to the new driver (offloads are set all the same), and a difference counts as adapted. What a driver begins with is learned from a device that nobody has touched yet; until then every value counts as chosen.',
  shared: {
    read: '`ethtool`',
    replay: '`ethtool`, one call per kind; one setting that is refused does not keep the others away',
    adapted: 'the nearest value that the new device takes',
    lost: 'the new device has no such setting',
  },
  rows: [
    {
      attribute: 'feature.*',
      what: 'offload or feature that can be changed',
      read: '`ethtool -k`',
      replay: '`ethtool -K`',
      adapted: 'checksums of named protocols in place of all protocols, or the reverse',
      lost: 'the new device has it fixed otherwise',
    },
    { attribute: 'ring.*', what: 'ring size', read: '`ethtool -g`', replay: '`ethtool -G`' },
    { attribute: 'channel.*', what: 'number of queues', read: '`ethtool -l`', replay: '`ethtool -L`' },
    { attribute: 'coalesce.*', what: 'interrupt coalescing', read: '`ethtool -c`', replay: '`ethtool -C`' },
    { attribute: 'pause.*', what: 'flow control', read: '`ethtool -a`', replay: '`ethtool -A`' },
  ],
});

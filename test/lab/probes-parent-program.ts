import { inNamespace } from '../../src/lab/network/network.ts';
import { startProbes } from '../../src/lab/probe/probes.ts';

/** Run by probes-network.test.ts, which kills it: starts probes in namespace argv[2] against argv[3]. */
const [, , netns = '', target = ''] = process.argv;
await startProbes({ enter: inNamespace(netns, []), target, icmp: true }).ready;
process.stdout.write('ready\n');
setInterval(() => {}, 1000);

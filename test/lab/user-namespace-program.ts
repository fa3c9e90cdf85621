import { exec } from '../../src/base/exec.ts';
import { toShadowferryError } from '../../src/errors.ts';
import { createLabNetwork, inNamespace, listLeftovers } from '../../src/lab/network/network.ts';
import { enterUserNamespace } from '../../src/lab/network/userns.ts';

/** Run as an unprivileged user by user-namespace.test.ts: builds a network and prints what came of it as JSON. */
const { action } = await enterUserNamespace();
const lab = await createLabNetwork({ id: 'user', hosts: ['a', 'b'] });
const address = lab.host('b').migrationAddress;
const ping = await exec(inNamespace(lab.host('a').netns, ['ping', '-c', '1', '-W', '2', address]), {
  allowFailure: true,
});
const tap = await lab.addTap('a', 'tap0').then(
  () => 'made',
  (error: unknown) => toShadowferryError(error).toJSON(),
);
const during = listLeftovers('user').namespaces;
await lab.dispose();
process.stdout.write(
  JSON.stringify({
    pid: process.pid,
    arguments: process.argv.slice(2),
    action,
    ping: ping.code,
    tap,
    during,
    after: listLeftovers('user').namespaces,
  }),
);

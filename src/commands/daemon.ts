/** `shadowferry daemon`: runs the daemon of this host in the foreground; systemd keeps it. */
import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import type { Command } from 'commander';
import { reasonOf } from '../errors.ts';
import { print } from './options.ts';

async function run(
  options: { config: string; check?: boolean; json?: boolean },
  command: Command,
): Promise<void> {
  // objects that die young get no more room than at the start: what loading modules takes there once (30 MB) would
  // stay resident as long as the daemon lives
  setFlagsFromString('--semi-space-growth-factor=1');
  // loaded when they are needed: no other command waits for a web server
  const { readConfig } = await import('../daemon/config/read.ts');
  const config = await readConfig(options.config);
  if (options.check) {
    if (options.json) print(JSON.stringify({ type: 'config', ok: true, file: options.config }));
    else print(`${options.config} is in order`);
    return;
  }
  const { startDaemon } = await import('../daemon/daemon.ts');
  const { makeLog } = await import('../daemon/http/log.ts');
  const { makeNotifier } = await import('../daemon/notify.ts');
  const log = makeLog(config.log.level, config.host);
  const version = command.parent?.version() ?? '';
  // before the start: a signal that comes meanwhile ends the daemon as soon as it could be ended
  const ended = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const daemon = await startDaemon({ config, log, version });
  const onReload = () => {
    try {
      daemon.reload();
      log.info('certificates were read anew');
    } catch (error) {
      log.error({ err: error }, 'certificates cannot be read; the old ones stay');
    }
  };
  process.on('SIGHUP', onReload);
  const notifier = makeNotifier(process.env, (why) =>
    log.warn({ why: reasonOf(why) }, 'systemd was not told'),
  );
  const where =
    config.listen === undefined ? config.socket.path : `${config.socket.path} and port ${daemon.port}`;
  log.info({ version, socket: config.socket.path, port: daemon.port ?? null }, 'the daemon answers');
  await notifier.ready(`host ${config.host}, at ${where}`);
  await ended;
  log.info('the daemon stops; VMs run on');
  await notifier.stopping();
  notifier.close();
  await daemon.stop();
  process.removeListener('SIGHUP', onReload);
}

export function registerDaemon(program: Command): void {
  program
    .command('daemon')
    .description('run the daemon of this host in the foreground')
    .option('--config <file>', 'its configuration', '/etc/shadowferry/daemon.yaml')
    .option('--check', 'only say whether the configuration is right')
    .option('--json', 'print one line of JSON, with --check')
    .action(run);
}

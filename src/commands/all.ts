/** All commands, in the order in which the help shows them. */
import type { Command } from 'commander';
import { registerAttach } from './attach.ts';
import { registerControl } from './control.ts';
import { registerDaemon } from './daemon.ts';
import { registerDemo } from './demo.ts';
import { registerDevices } from './devices.ts';
import { registerDoctor } from './doctor.ts';
import { registerExplain } from './explain.ts';
import { registerLab } from './lab.ts';
import { registerMigrate } from './migrate.ts';
import { registerMigrations } from './migrations.ts';
import { registerPki } from './pki.ts';
import { registerPool } from './pool.ts';
import { registerShadow } from './shadow.ts';
import { registerSwap } from './swap.ts';
import { registerToken } from './token.ts';
import { registerVm } from './vm.ts';

export function registerAll(program: Command): void {
  registerDemo(program);
  registerDoctor(program);
  registerDevices(program);
  registerLab(program);
  registerMigrate(program);
  registerSwap(program);
  registerAttach(program);
  registerControl(program);
  registerMigrations(program);
  registerExplain(program);
  registerShadow(program);
  registerDaemon(program);
  registerPki(program);
  registerPool(program);
  registerToken(program);
  registerVm(program);
}

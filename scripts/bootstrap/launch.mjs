/** Runs the task as a child that has the terminal, and ends as it ends. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

/** Whether this process is in its terminal's foreground group, where Ctrl-C reaches the child by itself. */
function inForeground() {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    // After the command's name in parentheses: state ppid pgrp session tty_nr tpgid.
    const [, , group, , tty, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return tty !== '0' && group === foreground;
  } catch {
    return false;
  }
}

/**
 * Runs `argv` with this process's standard streams and passes SIGINT, SIGTERM and SIGHUP on.
 * @param {string[]} argv
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<number>} the exit code; 128 + n when signal n ended it
 */
export function launch(argv, env) {
  const [program, ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(String(program), args, { stdio: 'inherit', env });
    const signals = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
    /** @param {NodeJS.Signals} signal */
    const passOn = (signal) => {
      // A second SIGINT means "at once" to many programs, so one that the terminal gave is not given again.
      if (signal !== 'SIGINT' || !inForeground()) child.kill(signal);
    };
    for (const signal of signals) process.on(signal, passOn);
    const stopPassing = () => {
      for (const signal of signals) process.off(signal, passOn);
    };
    child.once('error', (error) => {
      stopPassing();
      reject(error);
    });
    child.once('close', (code, signal) => {
      stopPassing();
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}

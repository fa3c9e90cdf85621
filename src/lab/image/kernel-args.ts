/**
 * Kernel command line of the lab's guest, for QEMU's `-append`: the console on ttyS0, and nothing that costs
 * boot time under TCG.
 */
export function guestKernelArgs(extra: readonly string[] = []): string {
  return [
    'console=ttyS0',
    'quiet',
    'panic=-1',
    // self-tests and mitigations protect nothing here and are slow without hardware help
    'mitigations=off',
    'cryptomgr.notests=1',
    'apparmor=0',
    'audit=0',
    'nokaslr',
    'random.trust_cpu=on',
    // the timer and TSC calibration loops wait on emulated clocks
    'no_timer_check',
    'tsc=reliable',
    // Self-tests without a switch of their own (0.3 s), and the generic tracer's symbol scan.
    'initcall_blacklist=crypto_kdf108_init,init_encrypted,init_kprobe_trace',
    // TCG keeps translated code by virtual address: with programs at random addresses every start of one is
    // translated anew (40 ms for a shell, 68 ms for `ip`), at fixed ones it is found again (8 and 17 ms).
    'norandmaps',
    'net.ifnames=0',
    ...extra,
  ].join(' ');
}

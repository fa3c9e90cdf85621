/** What a monitor between a daemon and QEMU may do to what passes. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ProxyAction, ProxyHooks, WireMessage } from '../../hypervisor/qmp/proxy.ts';

/** Each answer and each event comes so much later, in order. */
export function delaying(ms: number): ProxyHooks {
  const late = (): ProxyAction => ({ hold: delay(ms) });
  return { onReply: late, onEvent: late };
}

/** Each answer and each event comes twice. */
export function repeating(): ProxyHooks {
  const twice = (_: string, message: WireMessage): ProxyAction => ({ replace: [message, message] });
  return { onReply: twice, onEvent: twice };
}

/** Every second answer and every second event is overtaken by what comes after it. */
export function reordering(ms: number): ProxyHooks {
  let count = 0;
  const sometimes = (): ProxyAction => {
    count += 1;
    return count % 2 === 0 ? 'pass' : { hold: delay(ms) };
  };
  return { onReply: sometimes, onEvent: sometimes };
}

/** `device_add` is refused, so often. */
export function refusingDevices(times: number): ProxyHooks {
  let left = times;
  return {
    onCommand: (name) => {
      if (name !== 'device_add' || left <= 0) return 'pass';
      left -= 1;
      return { answer: { error: { class: 'GenericError', desc: 'the lab has no room for a device' } } };
    },
  };
}

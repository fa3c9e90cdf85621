/** Figures for Prometheus. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface Metrics {
  registry: Registry;
  /** By call, method and status; an unknown path is one call. */
  requests: Counter<'operation' | 'status'>;
  durations: Histogram<'operation'>;
  refused: Counter<'code'>;
  streams: Gauge;
  /** Requests that wait to be let in. */
  waiting: Gauge;
  streamsDropped: Counter;
  events: Counter<'type'>;
  leftovers: Counter<'what' | 'fate'>;
}

export function makeMetrics(about: { version: string; host: string }): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: 'shadowferry_' });
  new Gauge({
    name: 'shadowferry_info',
    help: 'Version and host of this daemon',
    labelNames: ['version', 'host'],
    registers,
  }).set(about, 1);
  return {
    registry,
    requests: new Counter({
      name: 'shadowferry_api_requests_total',
      help: 'Requests by call and status',
      labelNames: ['operation', 'status'],
      registers,
    }),
    durations: new Histogram({
      name: 'shadowferry_api_request_seconds',
      help: 'Time until the answer was written',
      labelNames: ['operation'],
      buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
      registers,
    }),
    refused: new Counter({
      name: 'shadowferry_api_errors_total',
      help: 'Answers that were problems, by code',
      labelNames: ['code'],
      registers,
    }),
    waiting: new Gauge({
      name: 'shadowferry_api_requests_waiting',
      help: 'Requests that wait to be let in: for their turn, or while a VM is handed over',
      registers,
    }),
    streams: new Gauge({
      name: 'shadowferry_event_streams',
      help: 'Streams of events that are open',
      registers,
    }),
    streamsDropped: new Counter({
      name: 'shadowferry_event_streams_dropped_total',
      help: 'Streams that were closed because their reader was too slow',
      registers,
    }),
    leftovers: new Counter({
      name: 'shadowferry_reconciled_total',
      help: 'What a crash left on this host, by kind, and by what became of it: removed, left (not to be touched), stays (could not be removed)',
      labelNames: ['what', 'fate'],
      registers,
    }),
    events: new Counter({
      name: 'shadowferry_events_total',
      help: 'Events by type',
      labelNames: ['type'],
      registers,
    }),
  };
}

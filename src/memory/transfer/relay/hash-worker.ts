/** A thread that hashes pages of shared memory. */
import { parentPort } from 'node:worker_threads';
import { type HashJob, hashPages } from './hash-job.ts';

parentPort?.on('message', ({ id, shared, offsets }: HashJob) => {
  const hashes = hashPages(new Uint8Array(shared), offsets);
  parentPort?.postMessage({ id, hashes }, [hashes.buffer]);
});

/**
 * Acts on all items at once and waits until every act has ended, also when one fails: whoever goes on, or back, finds
 * nothing still under way. Results are in the order of the items.
 * @throws the error of the first item, in their order, that failed
 */
export async function together<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const ended = await Promise.allSettled(items.map((item) => act(item)));
  return ended.map((each) => {
    if (each.status === 'rejected') throw each.reason;
    return each.value;
  });
}

/**
 * The only script of the page: it shows the sample nearest to the pointer under its picture. The page is complete
 * without it. It reads numbers and texts that the page was made with and writes with textContent only.
 */
export const PAGE_SCRIPT = `
for (const svg of document.querySelectorAll('svg[data-readouts]')) {
  const points = JSON.parse(svg.dataset.readouts);
  const cursor = svg.querySelector('.sf-cursor');
  const readout = svg.parentElement.querySelector('.readout');
  if (points.length === 0 || !cursor || !readout) continue;
  const hint = 'Point at the picture to read a moment.';
  readout.textContent = hint;
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let best = points[0];
    for (const point of points) if (Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
    cursor.setAttribute('transform', 'translate(' + best[0] + ')');
    cursor.setAttribute('visibility', 'visible');
    readout.textContent = best[1];
  });
  svg.addEventListener('pointerleave', () => {
    cursor.setAttribute('visibility', 'hidden');
    readout.textContent = hint;
  });
}
`;

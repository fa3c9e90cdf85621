/**
 * A process that asks members of etcd one question by their JSON gateway and prints each answer as a line of JSON, null
 * for one that has none: it runs in the namespace that reaches them. Arguments: PATH BODY URL…
 */
const [path = '', body = '', ...members] = process.argv.slice(2);
const LIMIT_MS = 2000;

const answers = await Promise.all(
  members.map(async (member) => {
    try {
      const signal = AbortSignal.timeout(LIMIT_MS);
      const response = await fetch(`${member}${path}`, { method: 'POST', body, signal });
      return response.ok ? await response.text() : 'null';
    } catch {
      return 'null';
    }
  }),
);
process.stdout.write(answers.map((answer) => `${answer.trim()}\n`).join(''));

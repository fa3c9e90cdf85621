/** What the configuration says about etcd. */
import { z } from 'zod';

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

const Endpoint = z.url({ protocol: /^https?$/, error: 'is not an http or https URL', abort: true }).refine(
  (text) => {
    const { pathname, search, hash, username } = new URL(text);
    return pathname === '/' && search === '' && hash === '' && username === '';
  },
  { error: 'has more than a host and a port' },
);

const path = z.string().regex(/^\/[^\0]*$/, 'an absolute path');
const milliseconds = z.number().int().min(1).max(600_000);

export const EtcdConfig = z
  .strictObject({
    endpoints: z
      .array(Endpoint)
      .min(1)
      .describe('Client URLs of the members of one etcd cluster, such as `https://192.0.2.1:2379`.'),
    prefix: z
      .string()
      .regex(/^(\/[\w.-]+)+$/, 'a path such as /shadowferry')
      .default('/shadowferry')
      .describe('All keys begin with it.'),
    tls: z
      .strictObject({
        ca: path.optional().describe("Certificates of the CAs of etcd's certificates (PEM)."),
        cert: path.optional().describe('Certificate that this host shows to etcd (PEM).'),
        key: path.optional().describe('Its private key (PEM).'),
        serverName: z
          .string()
          .min(1)
          .optional()
          .describe("The name in etcd's certificates, where it is not the one in the URL."),
      })
      .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
        error: 'cert and key belong together',
      })
      .optional(),
    auth: z
      .strictObject({
        user: z.string().min(1).describe('User of etcd.'),
        passwordFile: path.describe('File whose first line is the password.'),
      })
      .optional(),
    timeoutMs: milliseconds
      .default(5_000)
      .describe('How long a call may take where its caller sets no limit, ms.'),
    memberMs: milliseconds
      .default(1_000)
      .describe(
        'How long one member has for an answer before the next one is asked, ms; longer in each round.',
      ),
  })
  .refine(
    ({ auth, endpoints }) =>
      auth === undefined ||
      endpoints.every((each) => each.startsWith('https:') || LOOPBACK.test(new URL(each).hostname)),
    { path: ['auth'], error: 'a password goes to other machines by https only' },
  );
export type EtcdConfig = z.infer<typeof EtcdConfig>;

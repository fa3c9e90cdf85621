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

export const EtcdConfig = z
  .strictObject({
    /** Client URLs of members of one cluster. */
    endpoints: z.array(Endpoint).min(1),
    /** All our keys begin with it. */
    prefix: z
      .string()
      .regex(/^(\/[\w.-]+)+$/, 'is not a path such as /shadowferry')
      .default('/shadowferry'),
    /** Paths of PEM files; they are read again when a certificate is refused. */
    tls: z
      .strictObject({
        ca: z.string().optional(),
        cert: z.string().optional(),
        key: z.string().optional(),
        /** The name that the servers' certificates must have, when it is not the one in the URL. */
        serverName: z.string().optional(),
      })
      .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
        error: 'cert and key belong together',
      })
      .optional(),
    /** A user of etcd. The password is the file's first line. */
    auth: z.strictObject({ user: z.string().min(1), passwordFile: z.string() }).optional(),
    /** How long a call may take where its caller sets no limit, ms. */
    timeoutMs: z.number().int().positive().default(5_000),
    /** How long one member has for an answer before the next one is asked, ms; longer in each further round. */
    memberMs: z.number().int().positive().default(1_000),
  })
  .refine(
    ({ auth, endpoints }) =>
      auth === undefined ||
      endpoints.every((each) => each.startsWith('https:') || LOOPBACK.test(new URL(each).hostname)),
    { path: ['auth'], error: 'a password goes to other machines by https only' },
  );
export type EtcdConfig = z.infer<typeof EtcdConfig>;

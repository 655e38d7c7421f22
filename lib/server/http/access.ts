/**
 * Who may ask: names under which a server is known (against DNS rebinding), pages that may ask it (against cross-site requests), and
 * whoever has the API key.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { StarError } from '../../native/error.js'

export interface AccessOptions {
  /** Address to listen at. */
  host: string
  /** What requests have to show. Off the loopback addresses it is demanded. */
  apiKey?: string
  /** Further names of this server, as a reverse proxy is known by. */
  allowHosts?: readonly string[]
}

const isLoopback = (name: string): boolean =>
  name === 'localhost' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'))

/** `name`, `name:port`, `[address]:port`. */
const authority = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i

/** The name or address in a Host header, in lower case; null where it is none. */
function nameIn(host: string): string | null {
  const match = authority.exec(host)
  return match ? (match[1] ?? match[2]).toLowerCase() : null
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

export class Access {
  readonly #local: boolean
  readonly #names: ReadonlySet<string>
  readonly #key: Buffer | null

  /** @throws ERR_ARGUMENT where other machines could ask and there is no key */
  constructor({ host, apiKey, allowHosts = [] }: AccessOptions) {
    this.#local = isLoopback(host.toLowerCase())
    if (!this.#local && apiKey === undefined)
      throw new StarError(
        'ERR_ARGUMENT',
        `--host is ${host}, where other machines can ask: add --api-key KEY (or set STAR_API_KEY), or leave --host out`,
      )
    if (apiKey !== undefined && apiKey.trim() === '')
      throw new StarError('ERR_ARGUMENT', 'the API key is empty: give a long random text, or leave it out')
    this.#names = new Set([host, ...allowHosts].map((name) => name.toLowerCase()))
    this.#key = apiKey === undefined ? null : digest(apiKey)
  }

  /**
   * Whether a Host header names this server. A page of elsewhere whose name was rebound to this address is told by the name. Off
   * the loopback addresses, any address is one of ours: nobody can rebind an address.
   */
  knowsHost(host: string | undefined): boolean {
    const name = host === undefined ? null : nameIn(host)
    if (name === null) return false
    if (isLoopback(name) || this.#names.has(name)) return true
    return !this.#local && isIP(name) !== 0
  }

  /** Whether a page of that origin may ask: one of this server. Programs that are no browsers send no origin. */
  allowsOrigin(origin: string | undefined, host: string): boolean {
    if (origin === undefined) return true
    const from = /^https?:\/\/([^/]+)$/i.exec(origin)?.[1].toLowerCase()
    if (from === undefined) return false
    // Behind a reverse proxy the host header may name this server, and the origin the proxy.
    return from === host.toLowerCase() || this.#proxies(nameIn(from))
  }

  #proxies(name: string | null): boolean {
    return name !== null && !isLoopback(name) && isIP(name) === 0 && this.#names.has(name)
  }

  /**
   * Whether an Authorization header shows the key: `Bearer KEY`, as clients of OpenAI send it, or `Basic` with the key as password
   * and any user name, as browsers and clients of AUTOMATIC1111 do.
   */
  admits(authorization: string | undefined): boolean {
    if (this.#key === null) return true
    const [, scheme, value] = /^(Bearer|Basic) +(\S+)$/i.exec(authorization ?? '') ?? []
    if (scheme === undefined) return false
    const given =
      scheme.toLowerCase() === 'bearer'
        ? value
        : Buffer.from(value, 'base64')
            .toString('utf8')
            .replace(/^[^:]*:/, '')
    // Digests have one length, so that the comparison's time says nothing of the key's.
    return timingSafeEqual(digest(given), this.#key)
  }
}

/**
 * Downloads from the Hugging Face Hub by the name of a model. Listing and requests are those of @huggingface/hub; its own
 * download into the cache begins anew after a broken connection, checks no hash and tells no progress, so that is done here.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import type { ListFileEntry } from '@huggingface/hub'
import { nearest } from '../config/nearest.js'
import { fileError } from '../native/files.js'
import { quoted, StarError } from '../native/index.js'
import { acceptBlob, RepoCache, sizeOf } from './hub-cache.js'

export interface HubOptions {
  /** Use what is in the cache and ask no server. Default: HF_HUB_OFFLINE. */
  offline?: boolean
  /** Default: HF_HUB_CACHE, then `hub` in HF_HOME, then ~/.cache/huggingface/hub. */
  cacheDir?: string
  signal?: AbortSignal
  /** Called as bytes arrive: those that are here and those of all files in all. */
  onProgress?: (event: HubProgress) => void
}

/** How far a download is. */
export interface HubProgress {
  /** File that is being fetched, as the repository names it. */
  file: string
  /** Bytes that are there. */
  done: number
  /** Bytes of the file. */
  total: number
}

/** `org/name`, `org/name/a/file.pth`, and a branch, tag or commit as in `org/name@v1/a/file.pth`. */
export interface HubReference {
  id: string
  revision: string
  /** File or folder inside; empty for the whole repository. */
  path: string
}

const attempts = 5
const firstPause = 500

/** Reads a reference, or undefined for a text that cannot be one. */
export function hubReference(text: string): HubReference | undefined {
  const part = String.raw`[\w-][\w.-]*`
  const match = new RegExp(`^(${part}/${part})(?:@([\\w.-]+))?((?:/[^/\\\\]+)*)$`).exec(text)
  if (!match || match[3].split('/').includes('..')) return undefined
  return { id: match[1], revision: match[2] ?? 'main', path: match[3].slice(1) }
}

const shown = ({ id, path }: HubReference): string => (path ? `${id}/${path}` : id)

/** A request that was answered with an error; the library's own errors carry their status likewise. */
class HttpError extends Error {
  constructor(
    readonly statusCode: number,
    message: string,
  ) {
    super(message)
  }
}

/** Errors of the file system, which no new attempt mends. */
const isFileError = (error: unknown): boolean =>
  error instanceof StarError ||
  (error instanceof Error &&
    'code' in error &&
    /^(ENOSPC|EACCES|EROFS|EDQUOT|EFBIG|EIO|EMFILE|ENOENT|ENOTDIR|EPERM)$/.test(String(error.code)))

interface Session {
  reference: HubReference
  cache: RepoCache
  hubUrl: string | undefined
  accessToken: string | undefined
  options: HubOptions
}

/** What the library and fetch threw, as an error that says what to do. */
function explained(
  { reference, hubUrl = 'https://huggingface.co', accessToken, options }: Session,
  error: unknown,
): unknown {
  if (options.signal?.aborted) return options.signal.reason
  if (!(error instanceof Error) || error instanceof StarError) return error
  const status = 'statusCode' in error ? error.statusCode : undefined
  const fail = (detail: string): StarError =>
    new StarError('ERR_FILE', `${shown(reference)} cannot be downloaded: ${detail}`, { cause: error })
  if (status === 401 || status === 403)
    return fail(
      accessToken
        ? `${hubUrl} refuses the token in HF_TOKEN (${status}): ask for access on the model's page, or use another token`
        : `${hubUrl} wants a token, or there is no such model (${status}): check the name, or set HF_TOKEN`,
    )
  if (status === 404)
    return fail(`${hubUrl} has no such model or revision "${reference.revision}" (404): check the name`)
  if (status !== undefined) return fail(`${hubUrl} answered with status ${status}: try again later`)
  if (error instanceof TypeError && /token must start/.test(error.message))
    return fail('HF_TOKEN is no token of Hugging Face, which begin with "hf_": correct or unset it')
  if (isFileError(error)) return fileError('written', shown(reference), error)
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : ''
  return fail(
    `${hubUrl} cannot be reached: ${error.message}${cause}. Check the connection and HF_ENDPOINT; --offline uses what is in the cache`,
  )
}

const library = () => import('@huggingface/hub')

/** fetch that ends with the signal. */
const fetchUntil =
  (signal?: AbortSignal): typeof fetch =>
  (input, init) =>
    fetch(input, { ...init, signal })

const request = ({ reference, hubUrl, accessToken, options }: Session, commit?: string) => ({
  repo: reference.id,
  revision: commit ?? reference.revision,
  hubUrl,
  accessToken,
  fetch: fetchUntil(options.signal),
})

type RemoteFile = Pick<ListFileEntry, 'path' | 'size'> & { hash: string }

async function listFiles(session: Session): Promise<{ commit: string; files: RemoteFile[] }> {
  const hub = await library()
  const { reference } = session
  const { sha } = await hub.modelInfo({ ...request(session), name: reference.id, additionalFields: ['sha'] })
  const files: RemoteFile[] = []
  for await (const { type, path, size, oid, lfs } of hub.listFiles({ ...request(session, sha), recursive: true }))
    if (type === 'file') files.push({ path, size, hash: lfs?.oid ?? oid ?? '' })
  return { commit: sha, files }
}

const isHash = (text: string): boolean => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(text)

/** One request for the bytes of a file from `begin` on, appended to `partial`; a server that sends all begins it anew. */
async function fetchFrom(
  session: Session,
  url: string,
  { partial, begin, onBytes }: { partial: string; begin: number; onBytes: (count: number) => void },
): Promise<void> {
  const { accessToken, options } = session
  const headers = { ...(accessToken && { Authorization: `Bearer ${accessToken}` }), Range: `bytes=${begin}-` }
  const response = await fetch(url, { headers, signal: options.signal })
  if (!response.ok || !response.body)
    throw new HttpError(response.status, `${response.status} ${response.statusText} for ${url}`)
  const whole = response.status !== 206
  if (whole) onBytes(-begin)
  const out = await open(partial, whole ? 'w' : 'a')
  try {
    // Each part is on disk before it counts, so that a connection that breaks loses nothing that came before.
    for await (const part of response.body) {
      await out.writeFile(part)
      onBytes(part.length)
    }
  } finally {
    await out.close()
  }
}

/** Fetches the bytes that `partial` lacks, resuming after a broken connection. */
async function fetchRest(
  session: Session,
  commit: string,
  file: RemoteFile,
  partial: string,
  onBytes: (count: number) => void,
): Promise<void> {
  const hub = await library()
  const { signal } = session.options
  if (sizeOf(partial) > file.size) rmSync(partial)
  onBytes(sizeOf(partial))
  for (let attempt = 1; sizeOf(partial) < file.size; attempt++) {
    const begin = sizeOf(partial)
    try {
      const info = await hub.fileDownloadInfo({ ...request(session, commit), path: file.path })
      if (!info) throw new HttpError(404, `${file.path} is not there any more`)
      await fetchFrom(session, info.url, { partial, begin, onBytes })
      if (sizeOf(partial) < file.size) throw new TypeError(`the connection ended after ${sizeOf(partial)} bytes`)
    } catch (error) {
      const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 0
      const lasting = status >= 400 && status < 500 && status !== 408 && status !== 429
      // A connection that brought something has earned a new set of attempts.
      if (sizeOf(partial) > begin) attempt = 0
      if (lasting || signal?.aborted || attempt >= attempts || isFileError(error)) throw error
      await setTimeout(firstPause * 2 ** attempt, undefined, { signal })
    }
  }
}

/** Brings one file into the cache, unless it is there. */
async function fetchFile(
  session: Session,
  commit: string,
  file: RemoteFile,
  onBytes: (count: number) => void,
): Promise<void> {
  const { cache, options } = session
  if (existsSync(cache.file(commit, file.path))) return onBytes(file.size)
  const blob = cache.blob(file.hash)
  const partial = cache.partial(file.hash)
  await cache.locked(
    file.hash,
    async () => {
      if (existsSync(blob)) onBytes(file.size)
      else {
        if (file.size === 0) writeFileSync(partial, '')
        await fetchRest(session, commit, file, partial, onBytes)
        await acceptBlob(partial, blob, file.hash)
      }
      cache.link(commit, file.path, file.hash)
    },
    options.signal,
  )
}

/** Chooses among the paths of a repository; called with those below the reference's path, or with the one file it names. */
export type Wanted = (paths: readonly string[]) => readonly string[]

/** The paths that a reference and its caller want. @throws ERR_FILE when there are none, with the nearest path */
function choose({ reference }: Session, paths: readonly string[], wanted: Wanted): readonly string[] {
  const { path } = reference
  const named = path === '' || paths.includes(path) || paths.some((other) => other.startsWith(`${path}/`))
  if (!named) {
    const guess = nearest(path, paths)
    throw new StarError(
      'ERR_FILE',
      `${reference.id} has no file or folder "${path}"${guess === undefined ? '' : `, did you mean "${guess}"?`}`,
    )
  }
  return wanted(paths)
}

async function fromServer(session: Session, wanted: Wanted): Promise<string> {
  const { cache, reference, options } = session
  const { commit, files } = await listFiles(session)
  for (const { path, hash } of files)
    if (!isSafe(path) || !isHash(hash))
      throw new StarError(
        'ERR_FILE',
        `${reference.id} lists a file ${quoted(path)} with the hash ${quoted(hash)}, which is not safe to store`,
      )
  const paths = new Set(
    choose(
      session,
      files.map(({ path }) => path),
      wanted,
    ),
  )
  const chosen = files.filter(({ path }) => paths.has(path))
  const total = chosen.reduce((n, { size }) => n + size, 0)
  let done = 0
  for (const file of chosen)
    await fetchFile(session, commit, file, (count) => {
      done += count
      options.onProgress?.({ file: file.path, done, total })
    })
  cache.saveCommit(reference.revision, commit)
  return commit
}

const isSafe = (path: string): boolean =>
  !path.includes('\\') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')

function fromCache(session: Session, wanted: Wanted): string {
  const { cache, reference } = session
  const commit = cache.commitOf(reference.revision)
  if (commit === undefined)
    throw new StarError(
      'ERR_FILE',
      `${shown(reference)} is not in the cache, and downloads are turned off: run it once without --offline and HF_HUB_OFFLINE`,
    )
  choose(session, cache.files(commit), wanted)
  return commit
}

/**
 * Brings files of a model into the cache of Hugging Face and says where they are. What is there already is not fetched
 * again; an interrupted download resumes where it stopped; every file is checked against its hash. HF_TOKEN is sent where it
 * is set, HF_ENDPOINT takes the place of https://huggingface.co.
 * @param wanted which paths of the repository to fetch
 * @returns the path of the file or folder that the reference names
 * @throws ERR_FILE when the model cannot be had: no such name, no access, no connection, not in the cache
 */
export async function downloadFromHub(
  reference: HubReference,
  wanted: Wanted,
  options: HubOptions = {},
): Promise<string> {
  const { getHFHubCachePath } = await library()
  const session: Session = {
    reference,
    cache: new RepoCache(options.cacheDir ?? getHFHubCachePath(), reference.id),
    hubUrl: process.env.HF_ENDPOINT?.replace(/\/+$/, '') || undefined,
    accessToken: process.env.HF_TOKEN || undefined,
    options,
  }
  const offline = options.offline ?? /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? '')
  try {
    const commit = offline ? fromCache(session, wanted) : await fromServer(session, wanted)
    return reference.path ? session.cache.file(commit, reference.path) : session.cache.snapshot(commit)
  } catch (error) {
    throw explained(session, error)
  }
}

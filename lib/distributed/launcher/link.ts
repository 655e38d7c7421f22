/** Messages between the coordinator and the machines: in memory for the coordinator's own machine, JSON lines over TCP for others. */
import type { Socket } from 'node:net'
import { StringDecoder } from 'node:string_decoder'

/** The first failure of an attempt, as it is reported at the end. */
export interface Failure {
  /** Rank of the worker that failed; null when a whole machine did. */
  rank: number | null
  host: string
  /** What happened: `exit code 1`, `signal SIGKILL`, `no sign of life for 30 s`. */
  reason: string
  /** Last lines of its standard error. */
  message: string
  /** Its log file, if one is written. */
  log: string | null
}

/** What a machine is told to start. */
export interface Assignment {
  /** Counts the starts of this launch, from 0. */
  attempt: number
  groupRank: number
  /** Rank of the machine's first worker. */
  firstRank: number
  worldSize: number
  masterAddr: string
  masterPort: number
}

export type ToCoordinator =
  | { type: 'join'; nodeRank: number | null; processes: number; host: string }
  | { type: 'alive' }
  | { type: 'failed'; attempt: number; failure: Failure }
  | { type: 'finished'; attempt: number }
  /** All workers have ended after `stop`. */
  | { type: 'stopped'; attempt: number }
  /** The machine was told to end by a signal. */
  | { type: 'interrupt'; signal: NodeJS.Signals }

export type ToNode =
  | { type: 'alive' }
  | { type: 'start'; assignment: Assignment }
  /** End the workers; an answer `stopped` is expected. */
  | { type: 'stop' }
  /** Hand a signal to the workers and wait for their ends. */
  | { type: 'interrupt'; signal: NodeJS.Signals }
  | { type: 'end'; failure: Failure | null; problem: string | null }

/** One end of a two-way line. */
export interface Link<Out, In> {
  send(message: Out): void
  /** Called for each message that comes. */
  onMessage: (message: In) => void
  /** Called once when the other end has gone, however that came about. */
  onClose: (reason: string) => void
  close(): void
}

/** Longest message: what comes from an unknown program on the port must not fill the memory. */
const longestLine = 1 << 20

/** Two ends in one process. Messages arrive in later turns, as they do over a network. */
export function memoryLink<A, B>(): [Link<A, B>, Link<B, A>] {
  const nothing = () => {}
  const left: Link<A, B> = { send: nothing, onMessage: nothing, onClose: nothing, close: nothing }
  const right: Link<B, A> = { send: nothing, onMessage: nothing, onClose: nothing, close: nothing }
  left.send = (message) => setImmediate(() => right.onMessage(message))
  right.send = (message) => setImmediate(() => left.onMessage(message))
  left.close = () => setImmediate(() => right.onClose('closed'))
  right.close = () => setImmediate(() => left.onClose('closed'))
  return [left, right]
}

export function socketLink<Out, In>(socket: Socket): Link<Out, In> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  let closed = false
  const close = (reason: string) => {
    if (closed) return
    closed = true
    link.onClose(reason)
    socket.destroy()
  }
  const link: Link<Out, In> = {
    send: (message) => {
      if (!closed) socket.write(`${JSON.stringify(message)}\n`)
    },
    onMessage: () => {},
    onClose: () => {},
    // What was sent still goes out, if the other end takes it.
    close: () => {
      closed = true
      socket.end()
      setTimeout(() => socket.destroy(), 1000).unref()
    },
  }
  socket.setNoDelay(true)
  socket.on('data', (bytes) => {
    rest += decoder.write(bytes)
    for (let end = rest.indexOf('\n'); end >= 0 && !closed; end = rest.indexOf('\n')) {
      const line = rest.slice(0, end)
      rest = rest.slice(end + 1)
      let message: In
      try {
        message = JSON.parse(line) as In
      } catch {
        return close('it sent something that is no message of star launch')
      }
      link.onMessage(message)
    }
    if (rest.length > longestLine) close('it sent something that is no message of star launch')
  })
  socket.on('error', (error) => close(error.message))
  socket.on('close', () => close('the connection was closed'))
  return link
}

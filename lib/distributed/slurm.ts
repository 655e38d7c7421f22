/** Lists in the notation of Slurm: hosts and tasks of a job. */
import { StarError } from '../native/error.js'

/** First host of a list: `gpu[003-006,9],login` gives gpu003. @throws ERR_CONFIG for a list that is none */
export function firstHost(list: string): string {
  const first = /^(?:[^,[\]]|\[[^\]]*\])+(?=,|$)/.exec(list)?.[0]
  const host = first?.replaceAll(/\[(\d+)[^\]]*\]/g, '$1')
  if (!host || /[[\]]/.test(host))
    throw new StarError(
      'ERR_CONFIG',
      `"${list}" is no list of hosts as Slurm writes them: set MASTER_ADDR to rank 0's machine`,
    )
  return host
}

/** Tasks of the machine `node`, counted from 0: of `2(x3),1` machine 3 has 1. @throws ERR_CONFIG for a list that is none or too short */
export function tasksOnNode(list: string, node: number): number {
  let seen = 0
  for (const part of list.split(',')) {
    const [, tasks, times = '1'] = /^(\d+)(?:\(x(\d+)\))?$/.exec(part) ?? []
    if (tasks === undefined) break
    seen += Number(times)
    if (node < seen) return Number(tasks)
  }
  throw new StarError(
    'ERR_CONFIG',
    `"${list}" does not say how many tasks machine ${node} has: expected a list as Slurm writes it, like 2(x3),1`,
  )
}

/** `star report`: what the page of `star watch` shows, as one HTML file. */
import { reportPage } from './page.js'
import type { PictureSet, RunView } from './run-view.js'

/** Sets of pictures that a report holds: the last ones of each run, so that it stays a file one can send. */
const setsKept = 8

export function report(runs: readonly RunView[]): string {
  const pictures: Record<string, string> = {}
  const data = runs.map((run, i) => {
    const all = run.data()
    const sets: PictureSet[] = all.pictures.slice(-setsKept)
    for (const set of sets)
      for (const { file, scales } of set.pictures)
        for (const name of scales ? [file, scales] : [file])
          pictures[`${i}/${set.name}/${name}`] =
            `data:image/png;base64,${run.picture(set.name, name)!.toString('base64')}`
    return { ...all, pictures: sets }
  })
  return reportPage(data, pictures)
}

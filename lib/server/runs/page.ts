/** The page of `star watch`: markup, style and scripts, and the chart library; served as files, or as one file that holds all. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ownFile, type PageFile, pageFile } from '../page-files.js'
import type { RunData } from './run-view.js'

const packageFile = (name: string): string => join(dirname(createRequire(import.meta.url).resolve('uplot')), name)

/** Scripts in the order in which they are loaded; they share one scope. */
const scripts = ['names.js', 'source.js', 'chart.js', 'pictures.js', 'page.js']

/** Path in the address → content. */
export function pageFiles(): Map<string, PageFile> {
  const file = (name: string, source: string | URL): [string, PageFile] => [`/${name}`, pageFile(name, source)]
  return new Map([
    ['/', pageFile('index.html', ownFile('index.html'))],
    file('base.css', ownFile('draw/base.css')),
    file('page.css', ownFile('page.css')),
    file('uplot.css', packageFile('uPlot.min.css')),
    file('uplot.js', packageFile('uPlot.iife.min.js')),
    ...scripts.map((name) => file(name, ownFile(name))),
  ])
}

/** Nothing in it can end the element that it stands in. */
const embedded = (json: unknown): string => JSON.stringify(json).replaceAll('<', '\\u003c')
const inScript = (text: string): string => text.replaceAll('</script', '<\\/script')

/**
 * The page as one file, with what it shows.
 * @param pictures address of each picture (`data:` URL) by run, set and file name
 */
export function reportPage(runs: readonly RunData[], pictures: Record<string, string>): string {
  const files = pageFiles()
  const text = (name: string): string => files.get(name)!.body.toString('utf8')
  return text('/')
    .replace(/<link rel="stylesheet" href="(.*?)">/g, (_, name: string) => `<style>${text(`/${name}`)}</style>`)
    .replace(/<script src="(.*?)"><\/script>/g, (_, name: string) => `<script>${inScript(text(`/${name}`))}</script>`)
    .replace(
      '<!-- data -->',
      () => `<script id="data" type="application/json">${embedded({ runs, pictures })}</script>`,
    )
}

/** The page that makes pictures: markup, style and one script. */
import { ownFile, type PageFile, pageFile } from '../page-files.js'

/** Path in the address → content. @param at path of the page itself */
export function drawPageFiles(at: string): Map<string, PageFile> {
  const file = (name: string): [string, PageFile] => [`/${name}`, pageFile(name, ownFile(`draw/${name}`))]
  return new Map([
    [at, file('index.html')[1]],
    file('base.css'),
    file('draw.css'),
    file('docs.css'),
    file('icon.svg'),
    file('draw.js'),
  ])
}

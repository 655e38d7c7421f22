/** The page that makes pictures: markup, style and one script. */
import { ownFile, type PageFile, pageFile } from '../page-files.js'

/** Path in the address → content. */
export function drawPageFiles(): Map<string, PageFile> {
  const file = (name: string): [string, PageFile] => [`/${name}`, pageFile(name, ownFile(`draw/${name}`))]
  return new Map([
    file('base.css'),
    file('docs.css'),
    file('icon.svg'),
  ])
}

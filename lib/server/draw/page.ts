/** The page that makes pictures: markup, style and one script. */
import { ownFile, type PageFile, pageFile } from '../page-files.js'

/** Path in the address → content. */
export function drawPageFiles(): Map<string, PageFile> {
  const file = (name: string): [string, PageFile] => [`/${name}`, pageFile(name, ownFile(`draw/${name}`))]
  return new Map([
    ['/', file('index.html')[1]],
    file('base.css'),
    file('draw.css'),
    file('docs.css'),
    file('icon.svg'),
    file('draw.js'),
  ])
}

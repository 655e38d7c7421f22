/** Pictures with captions in text files, as a user's own folder may hold them: drawings of Twemoji, of the npm package. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readIconify } from '../../lib/data/icons/concepts.js'
import { renderIcon } from '../../lib/data/icons/render.js'

const names =
  `red-apple banana grapes lemon watermelon strawberry carrot pizza hamburger cooked-rice birthday-cake dog-face cat-face
  horse-face tiger-face lion frog penguin fish butterfly snail elephant sunflower tulip cactus evergreen-tree maple-leaf mushroom
  automobile bicycle airplane rocket sailboat locomotive house castle tent umbrella key hammer scissors light-bulb camera alarm-clock
  guitar trumpet soccer-ball snowman full-moon red-heart`.split(/\s+/)

/**
 * Writes NAME.png and NAME.txt for as many things as asked for, 50 at most.
 * @returns the captions, in the order of the files' names
 */
export async function writeIconPictures(folder: string, count: number, size: number): Promise<string[]> {
  mkdirSync(folder, { recursive: true })
  const { icons, width, height } = readIconify('@iconify-json/twemoji')
  const chosen = names.slice(0, count).sort()
  const captions = chosen.map((name) => name.replaceAll('-', ' '))
  for (const [i, name] of chosen.entries()) {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}">${icons[name].body}</svg>`
    writeFileSync(join(folder, `${name}.png`), (await renderIcon(Buffer.from(svg), name, size)).image)
    writeFileSync(join(folder, `${name}.txt`), `${captions[i]}\n`)
  }
  return captions
}

/** The same request in other places: on the command line, in a program, by curl. What is painted is in none of them. */
import { type Drawing, formFields, type Model, requestBody, sizeText, wordsOf } from './api.js'

/** A text as one word of a POSIX shell. */
const quoted = (text: string): string => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)
/** A text as a literal of TypeScript. */
const literal = (text: string): string =>
  `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`

/** The file that a drawing changes, by its name where it has one. */
const pictureName = ({ change }: Drawing): string =>
  (change?.image instanceof File && change.image.name) || 'picture.png'

/** LoRAs at work, but for the one that stands for the model itself. */
const lorasOf = ({ lora = [] }: Drawing, { source }: Model) =>
  lora.filter(({ path, strength }) => strength !== 0 && path !== source)

function commandLine(drawing: Drawing, model: Model): string {
  const { prompt, count, seed, size, cfg, topK, topP, speed } = drawing
  const { source, defaults } = model
  const options = [`--model ${quoted(source)}`, `--seed ${seed}`, `--cfg ${cfg}`, `--top-k ${topK}`, `--top-p ${topP}`]
  if (count > 1) options.push(`--count ${count}`)
  if (size) options.push(`--size ${sizeText(size)}`)
  if (speed !== (defaults?.speed ?? 'full')) options.push(`--speed ${speed}`)
  for (const { path, strength } of lorasOf(drawing, model)) options.push(`--lora ${quoted(`${path}:${strength}`)}`)
  const { from, share, strength } = drawing.change ? wordsOf(drawing.change) : {}
  // A prompt or name that begins with a dash would be an option.
  if (from === undefined) return `npx star-t2i sample ${options.join(' ')} -- ${quoted(prompt)}`
  const words = `--from ${quoted(from)} --to ${quoted(prompt)} --share ${share} --strength ${strength}`
  return `npx star-t2i edit ${words} ${options.join(' ')} -- ${quoted(pictureName(drawing))}`
}

function typescript(drawing: Drawing, model: Model): string {
  const { prompt, count, seed, size, cfg, topK, topP, speed } = drawing
  const { source, defaults } = model
  const loras = lorasOf(drawing, model).map(({ path, strength }) => `{ path: ${literal(path)}, strength: ${strength} }`)
  const loading = [literal(source), ...(loras.length > 0 ? [`{ lora: [${loras.join(', ')}] }`] : [])]
  const options = [
    ...(count > 1 ? [`count: ${count}`] : []),
    `seed: ${seed}`,
    ...(size ? [`size: { width: ${size.width}, height: ${size.height} }`] : []),
    `cfg: ${cfg}`,
    `topK: ${topK}`,
    `topP: ${topP}`,
    ...(speed === (defaults?.speed ?? 'full') ? [] : [`speed: '${speed}'`]),
  ]
  const { from, share, strength } = drawing.change ? wordsOf(drawing.change) : {}
  if (from !== undefined)
    options.unshift(`from: ${literal(from)}`, `to: ${literal(prompt)}`, `share: ${share}`, `strength: ${strength}`)
  const call = from === undefined ? `generate(${literal(prompt)}` : `edit(${literal(pictureName(drawing))}`
  return [
    "import { Star } from 'star-t2i'",
    '',
    `await using star = await Star.load(${loading.join(', ')})`,
    `const { images } = await star.${call}, { ${options.join(', ')} })`,
    `for (const [i, image] of images.entries()) await image.save(\`star-\${i}.png\`)`,
    '',
  ].join('\n')
}

const addressOf = (path: string): string => quoted(new URL(path, location.href).href)

function curl(drawing: Drawing): string {
  const { change } = drawing
  const body = requestBody(drawing)
  if (!change)
    return [
      `curl ${addressOf('/v1/images/generations')} \\`,
      "  -H 'Content-Type: application/json' \\",
      `  -d ${quoted(JSON.stringify(body))}`,
    ].join('\n')
  const file = pictureName(drawing).replaceAll(/["\\]/g, '\\$&')
  const fields = Object.entries(formFields({ ...body, ...wordsOf(change) }))
  return [
    `curl ${addressOf('/v1/images/edits')} \\`,
    `  -F ${quoted(`image=@"${file}"`)} \\`,
    fields.map(([name, text]) => `  --form-string ${quoted(`${name}=${text}`)}`).join(' \\\n'),
  ].join('\n')
}

export const copyKinds = { cli: 'Command line', typescript: 'TypeScript', curl: 'curl' } as const
export type CopyKind = keyof typeof copyKinds

export function copyText(kind: CopyKind, drawing: Drawing, model: Model): string {
  if (kind === 'cli') return commandLine(drawing, model)
  return kind === 'typescript' ? typescript(drawing, model) : curl(drawing)
}

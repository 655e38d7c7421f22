/** The same request in other places: on the command line, in a program, by curl. */
import { type Drawing, type Model, requestBody, sizeText } from './api.js'

/** A text as one word of a POSIX shell. */
const quoted = (text: string): string => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)
/** A text as a literal of TypeScript. */
const literal = (text: string): string =>
  `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`

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
  // A prompt that begins with a dash would be an option.
  return `npx star-t2i sample ${options.join(' ')} -- ${quoted(prompt)}`
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
  return [
    "import { Star } from 'star-t2i'",
    '',
    `await using star = await Star.load(${loading.join(', ')})`,
    `const { images } = await star.generate(${literal(prompt)}, { ${options.join(', ')} })`,
    `for (const [i, image] of images.entries()) await image.save(\`star-\${i}.png\`)`,
    '',
  ].join('\n')
}

const curl = (drawing: Drawing): string =>
  [
    `curl ${quoted(new URL('/v1/images/generations', location.href).href)} \\`,
    "  -H 'Content-Type: application/json' \\",
    `  -d ${quoted(JSON.stringify(requestBody(drawing)))}`,
  ].join('\n')

export const copyKinds = { cli: 'Command line', typescript: 'TypeScript', curl: 'curl' } as const
export type CopyKind = keyof typeof copyKinds

export function copyText(kind: CopyKind, drawing: Drawing, model: Model): string {
  if (kind === 'cli') return commandLine(drawing, model)
  return kind === 'typescript' ? typescript(drawing, model) : curl(drawing)
}

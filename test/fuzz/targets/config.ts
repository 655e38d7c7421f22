/** Configurations: of runs, ours and published ones, and of models. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findModel } from '../../../lib/models/source.js'
import { StarTransformer } from '../../../lib/models/star/index.js'
import { Tokenizer } from '../../../lib/models/tokenizer/index.js'
import { packageRoot } from '../../../lib/native/index.js'
import { readRunConfig } from '../../../lib/train/run-config.js'
import { writeTinyModel } from '../../support/tiny-model.js'
import type { FuzzTarget } from '../target.js'

const folder = join(packageRoot, 'configs')
const keys = [
  ...[
    '"kind":"tokenizer"',
    '"kind":"sampler"',
    '"optimizer"',
    '"data"',
    '"patchNums"',
    '"steps"',
    '"epochs"',
    '"precision"',
  ],
  ...[
    '"depth"',
    '"width"',
    '"phi"',
    '"per-scale"',
    '"channelMultipliers"',
    '"start"',
    '"progressive"',
    '"scaleWeights"',
  ],
]

export const runConfig: FuzzTarget = {
  name: 'run-config',
  sources: ['lib/train/run-config.js', 'lib/config/parse-config.js', 'lib/train/published/translate.js'],
  pieces: keys,
  seeds: () =>
    readdirSync(folder)
      .filter((name) => name.endsWith('.json') && name !== 'schema.json')
      .map((name) => readFileSync(join(folder, name))),
  open: (scratch) => {
    const file = join(scratch, 'config.json')
    return {
      run: (input) => {
        writeFileSync(file, input)
        return `read ${readRunConfig(file).config.kind}`
      },
    }
  },
}

export const modelJson: FuzzTarget = {
  name: 'model-json',
  sources: ['lib/models/source.js', 'lib/models/sizes.js', 'lib/config/parse-config.js'],
  pieces: keys,
  seeds: () => {
    const model = mkdtempSync(join(tmpdir(), 'star-fuzz-seed-'))
    writeTinyModel(model)
    const json = readFileSync(join(model, 'model.json'))
    rmSync(model, { recursive: true })
    return [json]
  },
  open: (scratch) => {
    const model = join(scratch, 'model')
    writeTinyModel(model)
    const file = join(model, 'model.json')
    return {
      run: (input) => {
        writeFileSync(file, input)
        const source = findModel(model)
        using tokenizer = new Tokenizer(source.tokenizer, { init: null })
        if (!source.transformer) return `read ${tokenizer.parameters().length}`
        using transformer = new StarTransformer(source.transformer, { init: null })
        return `read both ${transformer.parameters().length}`
      },
    }
  },
}

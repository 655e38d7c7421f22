/** All targets by name. */
import type { FuzzTarget } from '../target.js'
import { addon } from './addon.js'
import { checkpointFile, checkpointMetadata } from './checkpoint.js'
import { modelJson, runConfig } from './config.js'
import { csv, image, pack, packInfo, pngText } from './data.js'
import { http, store } from './network.js'
import { metrics, runFolder } from './run-folder.js'
import { tar } from './tar.js'
import { clipConfig, clipJson, clipMerges, clipTokens, prompt, sentencePiece, t5Json, t5Pieces } from './text.js'
import { packPickle, shardIndex, torchPickle, weightsFile } from './weights.js'

export const targets: ReadonlyMap<string, FuzzTarget> = new Map(
  [
    ...[packPickle, torchPickle, weightsFile, shardIndex],
    ...[pack, packInfo, tar, image, pngText, csv],
    ...[clipMerges, clipTokens, clipConfig, clipJson, t5Json, t5Pieces, sentencePiece, prompt],
    ...[runConfig, modelJson, metrics, runFolder],
    ...[checkpointFile, checkpointMetadata],
    ...[http, store, addon],
  ].map((target) => [target.name, target]),
)

/** The golden folder: numbers computed by the published program (test/golden/README.md). */
import { join } from 'node:path'
import { packageRoot } from '../../lib/native/index.js'

export const goldenFolder: string = process.env.STAR_GOLDEN ?? join(packageRoot, 'test', 'golden')
export const testDevice: string = process.env.STAR_TEST_DEVICE ?? 'cpu'

/** Measurements of models: what other folders use of them. */
export { type Evaluation, type EvaluationOptions, evaluateModel } from './evaluate.js'
export { type FeatureNetwork, loadFeatures } from './features.js'
export { evaluationLines, evaluationPage } from './report.js'
export { contactSheet } from './sheet.js'
export { SamplingSweep, type SweepFigures, type SweepOptions } from './sweep.js'

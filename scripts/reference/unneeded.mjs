/**
 * Prints, as a JSON list, the types that the library exports although no signature of an exported class, function or value leads
 * to them.
 */
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const entry = fileURLToPath(new URL('../../dist/lib/index.d.ts', import.meta.url))
const { NodeNext } = ts.ModuleResolutionKind
const program = ts.createProgram([entry], { module: ts.ModuleKind.NodeNext, moduleResolution: NodeNext, skipLibCheck: true })
const checker = program.getTypeChecker()

const resolved = (symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol)
const exported = new Map(
  checker
    .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)))
    .map((symbol) => [resolved(symbol), symbol.name]),
)

/** The name that a node refers to a type by. */
const nameOf = (node) =>
  ts.isTypeReferenceNode(node)
    ? node.typeName
    : ts.isExpressionWithTypeArguments(node)
      ? node.expression
      : ts.isImportTypeNode(node)
        ? node.qualifier
        : undefined

const isPrivate = (node) =>
  ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword)

const needed = new Set([...exported.keys()].filter(({ flags }) => flags & ts.SymbolFlags.Value))
/** Types that are not exported, whose own signatures lead on. */
const seen = new Set(needed)

function visit(node) {
  if (isPrivate(node)) return
  const name = nameOf(node)
  const symbol = name && checker.getSymbolAtLocation(name)
  if (symbol) follow(resolved(symbol))
  ts.forEachChild(node, visit)
}

function follow(symbol) {
  const declarations = symbol.declarations?.filter((one) => one.getSourceFile().fileName.includes('/dist/lib/')) ?? []
  if (seen.has(symbol) || declarations.length === 0) return
  seen.add(symbol)
  if (exported.has(symbol)) needed.add(symbol)
  for (const declaration of declarations) visit(declaration)
}

for (const symbol of [...needed]) for (const declaration of symbol.declarations ?? []) visit(declaration)
console.log(JSON.stringify([...exported].filter(([symbol]) => !needed.has(symbol)).map(([, name]) => name)))

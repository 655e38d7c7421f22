/**
 * A plugin of TypeDoc: keys of configurations are described where their schemas are (`.describe('…')`), for error messages, JSON
 * Schema and tables. The same text documents the properties of the types that are inferred from the schemas.
 */
import { Comment, Converter, ReflectionKind } from 'typedoc'
import ts from 'typescript'

/** The text of the `.describe('…')` that is called last on a schema; through names of schemas that stand for themselves. */
function description(node, checker) {
  if (ts.isCallExpression(node)) {
    const { expression, arguments: given } = node
    if (!ts.isPropertyAccessExpression(expression)) return undefined
    if (expression.name.text === 'describe' && ts.isStringLiteralLike(given[0])) return given[0].text
    return description(expression.expression, checker)
  }
  if (!ts.isIdentifier(node)) return undefined
  const symbol = ts.isShorthandPropertyAssignment(node.parent)
    ? checker.getShorthandAssignmentValueSymbol(node.parent)
    : checker.getSymbolAtLocation(node)
  const { valueDeclaration } = symbol && symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  return valueDeclaration?.initializer && description(valueDeclaration.initializer, checker)
}

function ofDeclaration(declaration, checker) {
  if (ts.isPropertyAssignment(declaration)) return description(declaration.initializer, checker)
  if (ts.isShorthandPropertyAssignment(declaration)) return description(declaration.name, checker)
  return undefined
}

export function load({ converter }) {
  converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
    if (reflection.comment || !reflection.kindOf(ReflectionKind.Property)) return
    const declarations = context.getSymbolFromReflection(reflection)?.declarations ?? []
    const text = declarations.map((declaration) => ofDeclaration(declaration, context.checker)).find(Boolean)
    if (text) reflection.comment = new Comment([{ kind: 'text', text }])
  })
}

// Which words and signs languages have. Belongs here: facts for colouring. Not here: colouring (`highlight.js`).

const words = (text) => new Set(text.split(" "));

const C_LIKE = { line: ["//"], block: [["/*", "*/"]], quotes: ['"', "'"] };
const SCRIPT = { line: ["#"], block: [], quotes: ['"', "'"] };
const COMMON = "if else for while do switch case default break continue return";
const DEFINING = words("def class function func fn fun struct interface trait enum type module namespace object protocol impl defmodule");

const JAVASCRIPT =
  `${COMMON} async await catch class const debugger delete export extends finally from function get import in instanceof let new of set ` +
  "static super this throw try typeof var void with yield";
const TYPESCRIPT = `${JAVASCRIPT} abstract as asserts declare enum implements infer interface is keyof namespace override private protected public readonly satisfies type`;
const JAVA =
  `${COMMON} abstract assert boolean byte catch char class double enum extends final finally float implements import instanceof int ` +
  "interface long native new package private protected public record sealed short static super synchronized this throw throws try var void volatile yield";
const C = `${COMMON} auto char const double enum extern float goto inline int long register short signed sizeof static struct typedef union unsigned void volatile`;
const CPP = `${C} bool catch class concept constexpr delete explicit final friend mutable namespace new noexcept operator override private protected public requires template this throw try typename using virtual`;

const SPECS = {
  python: {
    ...SCRIPT, triple: true, prefix: "[rRbBuUfFtT]{0,2}", decorator: true,
    keywords: "and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try type while with yield",
  },
  javascript: { ...C_LIKE, template: true, decorator: true, keywords: JAVASCRIPT },
  typescript: { ...C_LIKE, template: true, decorator: true, keywords: TYPESCRIPT },
  java: { ...C_LIKE, decorator: true, triple: true, keywords: JAVA },
  kotlin: {
    ...C_LIKE, decorator: true, triple: true,
    keywords: `${COMMON} as by catch class companion data enum finally fun import in init inline interface internal is lateinit object open operator out override package private protected public reified sealed super suspend this throw try typealias val var when`,
  },
  scala: {
    ...C_LIKE, decorator: true, triple: true,
    keywords: `${COMMON} abstract catch class def end enum export extends extension final finally given implicit import lazy match new object override package private protected sealed super then this throw trait try type using val var with yield`,
  },
  swift: {
    ...C_LIKE, decorator: true, triple: true,
    keywords: `${COMMON} actor any as associatedtype async await catch class defer deinit enum extension fileprivate func guard import in init inout internal is let mutating open override private protocol public repeat self some static struct subscript super throw throws try typealias var where`,
  },
  dart: { ...C_LIKE, decorator: true, triple: true, keywords: `${JAVA} as async await const dynamic extension factory get late library mixin on operator part required set show typedef with` },
  c: { ...C_LIKE, preprocessor: true, keywords: C },
  cpp: { ...C_LIKE, preprocessor: true, keywords: CPP },
  csharp: {
    ...C_LIKE, preprocessor: true,
    keywords: `${JAVA} as async await base bool decimal delegate event explicit foreach get implicit in init internal is lock namespace object operator out override params partial readonly ref sealed set sizeof string struct typeof uint ulong unsafe using virtual when where`,
  },
  go: {
    ...C_LIKE, template: true,
    keywords: `${COMMON} any bool byte chan const defer error fallthrough float64 func go goto import int int64 interface map package range rune select string struct type uint8 var`,
  },
  rust: {
    // A quote also begins a lifetime, so characters are left alone.
    ...C_LIKE, quotes: ['"'],
    keywords: "as async await break const continue crate dyn else enum extern fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait type unsafe use where while",
  },
  zig: { ...C_LIKE, keywords: "align and anytype async await break catch comptime const continue defer else enum errdefer error export extern fn for if inline noalias or orelse packed pub resume return struct suspend switch test try union usingnamespace var volatile while" },
  php: {
    ...C_LIKE, line: ["//", "#"],
    keywords: `${COMMON} abstract and array as catch class clone const declare echo elseif enum extends final finally fn foreach function global implements include instanceof interface match namespace new or print private protected public readonly require require_once static throw trait try use var yield`,
  },
  ruby: {
    ...SCRIPT,
    keywords: "alias and attr_accessor attr_reader begin break case class def defined? do else elsif end ensure extend for if in include module next not or private protected raise redo require rescue retry return self super then undef unless until when while yield",
  },
  elixir: { ...SCRIPT, triple: true, decorator: true, keywords: "after alias and case catch cond def defimpl defmacro defmodule defp defprotocol defstruct do else end fn for if import in not or quote raise receive require rescue try unless unquote use when with" },
  bash: { ...SCRIPT, keywords: "case declare do done elif else esac exit export fi for function if in local readonly return select set shift source then trap unset until while" },
  lua: { line: ["--"], block: [["--[[", "]]"]], quotes: ['"', "'"], keywords: "and break do else elseif end for function goto if in local not or repeat return then until while" },
  haskell: { line: ["--"], block: [["{-", "-}"]], quotes: ['"'], keywords: "case class data default deriving do else forall foreign if import in infix infixl infixr instance let module newtype of qualified then type where" },
  julia: { ...SCRIPT, quotes: ['"'], triple: true, decorator: true, keywords: "abstract begin break catch const continue do else elseif end export finally for function if import in let local macro module mutable primitive quote return struct try using where while" },
  r: { ...SCRIPT, keywords: "break else for function if in next repeat return while library require" },
  sql: {
    line: ["--"], block: [["/*", "*/"]], quotes: ["'", '"'], anyCase: true,
    keywords: "add all alter and as asc begin between by case check commit constraint create cross default delete desc distinct drop else end exists explain false foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer over partition primary references returning right rollback select set table then transaction true union unique update using values view when where with",
  },
  hcl: { ...SCRIPT, line: ["#", "//"], block: [["/*", "*/"]], keys: true, keywords: "for if in" },
  dockerfile: { ...SCRIPT, anyCase: true, keywords: "add arg as cmd copy entrypoint env expose from healthcheck label onbuild run shell stopsignal user volume workdir" },
  json: { line: ["//"], block: [], quotes: ['"'], keys: true, keywords: "" },
  yaml: { ...SCRIPT, keys: true, keywords: "" },
  toml: { ...SCRIPT, triple: true, keys: true, keywords: "" },
  css: { line: [], block: [["/*", "*/"]], quotes: ['"', "'"], keys: true, decorator: true, keywords: "important" },
  html: { line: [], block: [["<!--", "-->"]], quotes: ['"'], tags: true, keywords: "" },
};
SPECS.tsx = SPECS.typescript;

const CONSTANTS = words("True False None true false null nil undefined NULL NaN Infinity nullptr self cls this Ok Err Some");

/** What is known of a language, or null: `text` and `markdown` are prose. */
export function specOf(name) {
  const spec = Object.hasOwn(SPECS, name) ? SPECS[name] : null;
  if (spec && !(spec.keywords instanceof Set)) spec.keywords = words(spec.keywords);
  return spec && { ...spec, constants: CONSTANTS, defining: DEFINING };
}

package tui

import (
	"strings"

	"github.com/hoptrail/hoptrail/trace"
)

// glyphs is every character the UI draws by itself. State is told by a shape
// and a word; nothing depends on colour. The shapes of the Unicode set are one
// cell wide in every terminal; its lines are not where the ambiguous ones count
// two cells, which is why that setting selects the ASCII set.
type glyphs struct {
	state    map[trace.State]string
	cursor   string // the selected row
	pipe     string // between hops
	hrule    string
	vrule    string
	ellipsis string
	branch   string // a hop with several ways on
	changed  string
	match    string // the gutter of a line that proves something
	arrow    string
	sep      string // between parts of a line
	spinner  []string
	differs  string
	bullet   string
	masked   string
	bar      []string // from empty to full
	boxTL    string
	boxTR    string
	boxBL    string
	boxBR    string
}

var unicodeGlyphs = glyphs{
	state: map[trace.State]string{
		trace.OK: "✓", trace.Warn: "!", trace.Fail: "✗", trace.Unknown: "?", trace.Skipped: "-", "": "?",
	},
	cursor: "▸", pipe: "│", hrule: "─", vrule: "│", ellipsis: "…", branch: "▾", changed: "~",
	match: "▌", arrow: "→", sep: " · ", differs: "≠", bullet: "•", masked: "•••",
	spinner: []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"},
	bar:     []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	boxTL:   "╭", boxTR: "╮", boxBL: "╰", boxBR: "╯",
}

var asciiGlyphs = glyphs{
	state: map[trace.State]string{
		trace.OK: "+", trace.Warn: "!", trace.Fail: "x", trace.Unknown: "?", trace.Skipped: "-", "": "?",
	},
	cursor: ">", pipe: "|", hrule: "-", vrule: "|", ellipsis: "..", branch: "b", changed: "~",
	match: "#", arrow: "->", sep: " - ", differs: "!", bullet: "*", masked: "***",
	spinner: []string{"|", "/", "-", "\\"},
	bar:     []string{"_", ".", ":", "-", "=", "+", "*", "#"},
	boxTL:   "+", boxTR: "+", boxBL: "+", boxBR: "+",
}

// word names a state. It stands beside the shape wherever there is room.
func word(s trace.State) string {
	switch s {
	case trace.OK:
		return "OK"
	case trace.Warn:
		return "WARN"
	case trace.Fail:
		return "FAIL"
	case trace.Skipped:
		return "SKIP"
	case trace.Unknown:
		return "UNKNOWN"
	}
	return "UNKNOWN"
}

// verdictState is the state whose shape a verdict wears.
func verdictState(v trace.Verdict) trace.State {
	switch v {
	case trace.Reachable:
		return trace.OK
	case trace.Unreachable:
		return trace.Fail
	case trace.Degraded:
		return trace.Warn
	case trace.Undetermined:
		return trace.Unknown
	}
	return trace.Unknown
}

func verdictWord(v trace.Verdict) string {
	if v == "" {
		v = trace.Undetermined
	}
	return strings.ToUpper(string(v))
}

// theme gives the roles of the screen their styles, from the sixteen colours a
// terminal's user has chosen to be legible.
type theme struct {
	name   string
	ok     style
	warn   style
	fail   style
	unk    style
	skip   style
	title  style
	dim    style
	accent style // names of objects
	key    style
	cmd    style
	match  style // found text
	proof  style // the matching part of evidence
	frame  style
}

var themes = []theme{
	{
		name: "colour", ok: green, warn: yellow, fail: red | bold, unk: magenta, skip: faint,
		title: bold, dim: faint, accent: cyan, key: bold, cmd: cyan, match: reverse | yellow,
		proof: bold | underline, frame: faint,
	},
	{ // red and green are not needed to tell anything apart
		name: "colour-blind", ok: cyan, warn: yellow, fail: magenta | bold | reverse, unk: yellow, skip: faint,
		title: bold, dim: faint, accent: blue, key: bold, cmd: blue, match: reverse,
		proof: bold | underline, frame: faint,
	},
	{
		name: "mono", fail: bold | reverse, warn: bold, unk: underline,
		title: bold, key: bold, match: reverse, proof: bold | underline,
	},
}

func (t *theme) state(s trace.State) style {
	switch s {
	case trace.OK:
		return t.ok
	case trace.Warn:
		return t.warn
	case trace.Fail:
		return t.fail
	case trace.Skipped:
		return t.skip
	case trace.Unknown:
		return t.unk
	}
	return t.unk
}

// environment is what the UI must know of the terminal's surroundings.
type environment map[string]string

func newEnvironment(env []string) environment {
	e := environment{}
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e[k] = v
		}
	}
	return e
}

// needsASCII says whether the terminal cannot be trusted with the Unicode set,
// and why.
func (e environment) needsASCII() (string, bool) {
	switch strings.ToLower(e["RUNEWIDTH_EASTASIAN"]) {
	case "1", "t", "true":
		return "RUNEWIDTH_EASTASIAN is set", true
	}
	if t := e["TERM"]; t == "linux" || t == "vt100" || t == "dumb" {
		return "TERM=" + t, true
	}
	locale := e["LC_ALL"]
	if locale == "" {
		locale = e["LC_CTYPE"]
	}
	if locale == "" {
		locale = e["LANG"]
	}
	if up := strings.ToUpper(strings.ReplaceAll(locale, "-", "")); !strings.Contains(up, "UTF8") {
		return "the locale is not UTF-8", true
	}
	return "", false
}

func (e environment) noColor() bool { return e["NO_COLOR"] != "" }

func (e environment) remote() bool { return e["SSH_CONNECTION"] != "" || e["SSH_TTY"] != "" }

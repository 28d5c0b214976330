package accesslog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// The bounds of a log that is read.
const (
	// MaxLine is the greatest length of a line or of a record of several; what
	// is longer is not an access line.
	MaxLine = 1 << 20
	// maxWrapped is the number of lines a text record may be wrapped onto by
	// hand, maxSpread that of an indented JSON record.
	maxWrapped = 12
	maxSpread  = 512
)

// Parser reads lines. It remembers the layout of the last line to find that of
// the next one faster, and is for one goroutine at a time.
type Parser struct {
	formats []*Format
	detect  bool

	m       matcher
	auto    autoJSON
	last    *Format // the known layout that read the last line
	scratch []int
	rows    int // lines of a record: the most newlines in a format, plus 1
}

// NewParser returns a parser that tries the formats in order. Without formats
// it recognises the known layouts: Envoy's default, those of Istio's history,
// and JSON by its keys.
func NewParser(formats ...*Format) *Parser {
	p := &Parser{formats: formats, detect: len(formats) == 0, rows: 1}
	for _, f := range formats {
		rows := 1
		for _, lit := range f.lits {
			rows += strings.Count(lit, "\n")
		}
		p.rows = max(p.rows, rows)
	}
	return p
}

// Detecting makes the parser recognise the known layouts too, where none of
// its formats reads a line: a log may be older than the configuration. It
// returns the parser.
func (p *Parser) Detecting() *Parser {
	p.detect = true
	return p
}

// Parse reads one line (without its newline). It never fails: a line that is
// not an access line is an Entry with a Why.
func (p *Parser) Parse(line string) Entry {
	u := unwrap(strings.TrimRight(line, "\r\n"))
	e := p.parse(u.body, u.prefix)
	e.Raw = line
	return e
}

// order is the order in which readings are tried. A reading up to the end of
// the line, quotes in values and all, comes before one that leaves something over:
// what a client sent must not pass for the fields behind it.
var order = [...]struct {
	tier tier
	tail bool
}{{strict, false}, {quoted, false}, {strict, true}, {quoted, true}, {loose, false}, {loose, true}}

// parse reads a line that is unwrapped.
func (p *Parser) parse(body, prefix string) Entry {
	if len(body) > MaxLine {
		return Entry{Why: fmt.Sprintf("longer than %d bytes; not read", MaxLine)}
	}
	p.m.reset()
	if p.last != nil {
		if e, ok := p.try(p.last, body, 0, strict, false, prefix); ok {
			return e
		}
	}
	p.scratch = starts(body, p.scratch)
	why := ""
	var nearest *Format
	nearestFar, nearestAt, nearestStart := -1, 0, 0
	keep := func(f *Format, start int) {
		if p.m.far > nearestFar && p.m.far > 0 {
			nearest, nearestFar, nearestAt, nearestStart = f, p.m.far, p.m.farAt, start
		}
		if p.m.tooMuch {
			why = "too many readings: its values hold too many quotes or blanks to tell the fields apart"
		}
	}
	sweep := func(formats []*Format, t tier, tail bool) (Entry, bool) {
		for _, start := range p.scratch {
			for _, f := range formats {
				if f.JSON() {
					continue
				}
				p.m.reset()
				if e, ok := p.try(f, body, start, t, tail, prefix); ok {
					return e, true
				}
				keep(f, start)
			}
		}
		return Entry{}, false
	}
	for _, f := range p.formats {
		if !f.JSON() {
			continue
		}
		for _, start := range p.scratch {
			if body[start:] == "" || body[start] != '{' {
				continue
			}
			values, no := f.matchJSON(&p.m, body[start:])
			if no == "" {
				return Entry{Prefix: prefix + body[:start], Format: f, values: values}
			}
			why = no
		}
	}
	for _, turn := range order {
		if e, ok := sweep(p.formats, turn.tier, turn.tail); ok {
			return e
		}
	}
	if p.detect {
		for _, start := range p.scratch {
			if body[start:] == "" || body[start] != '{' {
				continue
			}
			f, values, no := p.auto.match(body[start:])
			if no == "" {
				return Entry{Prefix: prefix + body[:start], Format: f, values: values}
			}
			if why == "" {
				why = no
			}
			break
		}
		known := knownLayouts()
		for _, turn := range order {
			if e, ok := sweep(known, turn.tier, turn.tail); ok {
				if !turn.tail {
					p.last = e.Format
				}
				return e
			}
			if turn.tail {
				continue
			}
			if e, ok := sweep(trimmedLayouts(), turn.tier, false); ok {
				return e
			}
		}
	}
	if other := whyNot(body[p.scratch[min(1, len(p.scratch)-1)]:]); other != "" {
		return Entry{Prefix: prefix, Why: other}
	}
	if other := whyNot(body); other != "" {
		return Entry{Prefix: prefix, Why: other}
	}
	if why == "" {
		why = "no known layout of an access log"
		if len(p.formats) > 0 && !p.detect {
			why = "not in the log format"
		}
		if nearest != nil && nearestFar >= 3 {
			why += ": " + wanted(nearest, nearestFar, body[nearestStart:], nearestAt)
		}
	}
	return Entry{Prefix: prefix, Why: why}
}

// wanted says where the nearest layout stopped to fit.
func wanted(f *Format, op int, body string, at int) string {
	if at >= len(body) {
		return fmt.Sprintf("as %s it ends before %s", f.name, f.ops[op])
	}
	if lit := f.lits[op+1]; strings.Contains(lit, `"`) && !strings.Contains(body[at:], lit) {
		return fmt.Sprintf("as %s it ends within %s, at byte %d", f.name, f.ops[op], at+1)
	}
	there := body[at:]
	if len(there) > 40 {
		there = there[:40] + "..."
	}
	return fmt.Sprintf("as %s, %s would be at byte %d, where %q stands", f.name, f.ops[op], at+1, there)
}

// try reads the body from start with one text format.
func (p *Parser) try(f *Format, body string, start int, t tier, tail bool, prefix string) (Entry, bool) {
	s := body[start:]
	if !p.m.match(f, s, t, tail) {
		return Entry{}, false
	}
	values := make([]string, len(f.ops))
	for i := range values {
		values[i] = s[p.m.begin[i]:p.m.end[i]]
	}
	e := Entry{Prefix: prefix, Format: f, values: values, tier: t}
	if start > 0 {
		e.Prefix = prefix + body[:start]
	}
	if tail {
		end := p.m.end[len(values)-1] + len(f.lits[len(values)])
		e.Extra = strings.TrimSpace(s[end:])
	}
	return e, true
}

// Read reads a whole log: one Entry for each line, in order. Records that were
// wrapped by hand, spread as indented JSON or split by the container runtime
// are put together. An error is one of reading r and the last item.
func (p *Parser) Read(r io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		lr := lineReader{r: bufio.NewReaderSize(r, 64<<10)}
		j := joiner{p: p, yield: func(e Entry) bool { return yield(e, nil) }}
		for {
			raw, tooLong, err := lr.next()
			if err == nil {
				if !j.line(raw, lr.number, tooLong) {
					return
				}
				continue
			}
			if !j.flush() {
				return
			}
			if !errors.Is(err, io.EOF) {
				yield(Entry{}, fmt.Errorf("access log: line %d: %w", lr.number+1, err))
			}
			return
		}
	}
}

// lineReader reads lines of bounded length.
type lineReader struct {
	r      *bufio.Reader
	number int
	long   []byte
}

// next returns the next line without its newline. Of one longer than MaxLine it
// returns the first 4 KiB and its length.
func (l *lineReader) next() (line string, tooLong int, err error) {
	chunk, err := l.r.ReadSlice('\n')
	if err == nil {
		l.number++
		return string(bytes.TrimRight(chunk, "\r\n")), 0, nil
	}
	l.long = l.long[:0]
	size := 0
	for {
		size += len(chunk)
		if room := MaxLine + 2 - len(l.long); room > 0 {
			l.long = append(l.long, chunk[:min(room, len(chunk))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
		chunk, err = l.r.ReadSlice('\n')
	}
	if err != nil && (!errors.Is(err, io.EOF) || size == 0) {
		return "", 0, err
	}
	l.number++
	text := bytes.TrimRight(l.long, "\r\n")
	if len(text) > MaxLine {
		return string(text[:4096]), size, nil
	}
	return string(text), 0, nil
}

// joiner puts the lines of a record together.
//
//	CRI "P" lines              until the "F" line
//	{ without its }            until the braces are closed
//	a line cut by hand         until it reads, or the next record begins
type joiner struct {
	p     *Parser
	yield func(Entry) bool

	held  []Entry // lines held back, each with its own Why
	text  strings.Builder
	kind  heldKind
	depth int  // of braces
	inStr bool // within a JSON string
}

type heldKind uint8

const (
	holdNothing heldKind = iota
	holdPartial
	holdJSON
	holdText
)

// line takes the next line; false means that the consumer wants no more.
func (j *joiner) line(raw string, number, tooLong int) bool {
	if tooLong > 0 {
		return j.flush() && j.yield(Entry{Raw: raw, Line: number, Why: fmt.Sprintf("%d bytes long; lines of more than %d bytes are not read", tooLong, MaxLine)})
	}
	u := unwrap(raw)
	if j.kind == holdPartial || u.partial {
		if j.kind != holdPartial && !j.flush() {
			return false
		}
		return j.partial(raw, number, u)
	}
	return j.whole(raw, number, u)
}

// partial collects CRI's partial lines.
func (j *joiner) partial(raw string, number int, u unwrapped) bool {
	if u.prefix == "" || j.text.Len()+len(u.body) > MaxLine {
		return j.flush() && j.whole(raw, number, u)
	}
	if j.kind == holdNothing {
		j.kind = holdPartial
	}
	j.held = append(j.held, Entry{Raw: raw, Line: number, Prefix: u.prefix})
	j.text.WriteString(u.body)
	if u.partial {
		return true
	}
	held, body := j.held, j.text.String()
	j.reset()
	e := j.p.parse(body, held[0].Prefix)
	e.Line, e.Raw = held[0].Line, joinRaw(held)
	return j.yield(e)
}

func joinRaw(held []Entry) string {
	raws := make([]string, len(held))
	for i, h := range held {
		raws[i] = h.Raw
	}
	return strings.Join(raws, "\n")
}

// whole takes a line that is not partial.
func (j *joiner) whole(raw string, number int, u unwrapped) bool {
	switch j.kind {
	case holdJSON:
		if strings.HasPrefix(u.body, "{") || beginsRecord(u.body) || len(j.held) >= maxSpread || j.text.Len()+len(u.body) > MaxLine {
			if !j.flush() {
				return false
			}
			break
		}
		body := u.body[prefixLen(u.body):]
		j.hold(raw, number, "\n", body)
		j.balance(body)
		if rows := j.p.rows; rows > 1 && len(j.held) == rows {
			// A text in the shape of JSON: its values may spoil the count of braces.
			if e := j.p.parse(j.text.String(), j.held[0].Prefix); e.OK() {
				return j.emit(e)
			}
		}
		if j.depth > 0 {
			return true
		}
		return j.joined(j.text.String())
	case holdText:
		if alone := j.p.parse(u.body, u.prefix); alone.OK() || beginsRecord(u.body) || len(j.held) >= max(maxWrapped, j.p.rows) || j.text.Len()+len(u.body) > MaxLine {
			if !j.flush() {
				return false
			}
			break
		}
		j.hold(raw, number, " ", u.body)
		best, found := Entry{}, false
		for text := range j.readings {
			if e := j.p.parse(text, j.held[0].Prefix); e.OK() && (!found || e.tier < best.tier) {
				best, found = e, true
			}
		}
		if found {
			return j.emit(best)
		}
		return true
	}
	e := j.p.parse(u.body, u.prefix)
	e.Raw, e.Line = raw, number
	if e.OK() {
		return j.yield(e)
	}
	switch kind := j.opens(u.body); kind {
	case holdNothing:
		return j.yield(e)
	default:
		j.kind = kind
		j.held = append(j.held, e)
		j.held[0].Prefix = u.prefix
		j.text.WriteString(u.body)
		return true
	}
}

// readings yields the ways the held lines may have been one: parted at a blank,
// within a word, or by the format's own newlines.
func (j *joiner) readings(yield func(string) bool) {
	pieces := make([]string, len(j.held))
	for i, h := range j.held {
		pieces[i] = unwrap(h.Raw).body
	}
	if j.p.rows > 1 && !yield(strings.Join(pieces, "\n")) {
		return
	}
	for i := 1; i < len(pieces); i++ {
		pieces[i] = strings.TrimLeft(pieces[i], " \t")
	}
	breaks := len(pieces) - 1
	if breaks > 4 {
		if yield(strings.Join(pieces, " ")) {
			yield(strings.Join(pieces, ""))
		}
		return
	}
	for glued := range 1 << breaks { // bit i: break i was within a word
		var b strings.Builder
		for i, piece := range pieces {
			if i > 0 && glued>>(i-1)&1 == 0 {
				b.WriteByte(' ')
			}
			b.WriteString(piece)
		}
		if !yield(b.String()) {
			return
		}
	}
}

func (j *joiner) hold(raw string, number int, sep, body string) {
	j.held = append(j.held, Entry{Raw: raw, Line: number})
	j.text.WriteString(sep)
	j.text.WriteString(body)
}

// joined reads the held lines as one JSON record.
func (j *joiner) joined(text string) bool {
	start := strings.IndexByte(text, '{')
	return j.emit(j.p.parse(text[start:], j.held[0].Prefix+text[:start]))
}

// emit yields what the held lines are together.
func (j *joiner) emit(e Entry) bool {
	e.Line, e.Raw = j.held[0].Line, joinRaw(j.held)
	j.reset()
	return j.yield(e)
}

// flush yields the held lines each on its own, but a JSON record that is broken
// at its source as one.
func (j *joiner) flush() bool {
	held, broken, text := j.held, j.kind == holdJSON, j.text.String()
	j.reset()
	alone := make([]Entry, len(held))
	for i, h := range held {
		alone[i] = j.p.Parse(h.Raw)
		alone[i].Line = h.Line
		broken = broken && !alone[i].OK()
	}
	if broken {
		e := j.p.parse(text, held[0].Prefix)
		e.Line, e.Raw = held[0].Line, joinRaw(held)
		return j.yield(e)
	}
	for _, e := range alone {
		if !j.yield(e) {
			return false
		}
	}
	return true
}

func (j *joiner) reset() {
	j.held, j.kind, j.depth, j.inStr = nil, holdNothing, 0, false
	j.text.Reset()
}

// opens says whether a line that does not read may be the first of several.
func (j *joiner) opens(body string) heldKind {
	if len(body) > MaxLine {
		return holdNothing
	}
	at := strings.IndexByte(body[:min(len(body), maxPrefix)], '{')
	if at >= 0 && (at == 0 || strings.TrimLeft(body[:at], " \t") == "" || body[at-1] == ' ') {
		if rest := strings.TrimSpace(body[at+1:]); rest == "" || rest[0] == '"' {
			j.depth, j.inStr = 0, false
			j.balance(body[at:])
			if j.depth > 0 && !j.inStr {
				return holdJSON
			}
		}
	}
	if beginsRecord(body) || j.p.rows > 1 {
		return holdText
	}
	return holdNothing
}

// balance follows the braces of JSON text.
func (j *joiner) balance(s string) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case j.inStr && c == '\\':
			i++
		case c == '"':
			j.inStr = !j.inStr
		case j.inStr:
		case c == '{':
			j.depth++
		case c == '}':
			j.depth--
		}
	}
	j.inStr = false // a string does not go over the end of a line
}

// beginsRecord says whether a line begins as Envoy's text layouts do, behind
// whatever prefix: [2025-01-30T12:10:13.279Z] "
func beginsRecord(body string) bool {
	i := bracketedTime(body[:min(len(body), maxPrefix)])
	if i < 0 {
		return false
	}
	_, rest, ok := strings.Cut(body[i:], "] ")
	return ok && strings.HasPrefix(rest, `"`)
}

package iptables

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Bounds on what a text may make this package do.
const (
	maxText    = math.MaxInt32 // bytes of one text
	maxTables  = 64
	maxInserts = 10_000 // -I lines, which only restore input has
	maxRemarks = 100
)

// ParseError says where a text is not what it should be. Line and Column count
// from 1; 0 where they do not apply.
type ParseError struct {
	File   string
	Line   int
	Column int
	Msg    string
}

func (e *ParseError) Error() string {
	switch {
	case e.Line > 0 && e.Column > 0:
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
	case e.Line > 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	default:
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
}

// Ruleset is one text of iptables-save or ip6tables-save: its tables and chains
// indexed, its rules read when a packet meets them. It keeps the text it was
// made from, which must not change. It may be used by several goroutines.
type Ruleset struct {
	name  string
	data  []byte
	seed  maphash.Seed
	tag   uint64 // the bits of a slot that stand for the name
	index atomic.Pointer[[]*table]
	mend  sync.Mutex

	careful atomic.Bool // indexed comparing names
}

// tables are in the order of the text.
func (rs *Ruleset) tables() []*table { return *rs.index.Load() }

// span is one line's place in the text.
type span struct{ off, end int32 }

// run is lines that stand together, from line on.
type run struct {
	span
	line int32
}

type table struct {
	name    string
	line    int
	chains  []chain
	slots   []uint64 // open addressing: part of the name's hash, and the index into chains plus one
	strange []span   // lines that are no rule, kept
	again   int      // line where the same table begins again with other content
	text    span
}

// chain is what the index holds of a chain: where its lines are.
type chain struct {
	name    span
	first   run    // the first run of lines that stand together
	more    *[]run // further runs
	count   int32
	policy  policy
	defined bool
	body    atomic.Pointer[body]
}

type policy uint8

const (
	noPolicy policy = iota
	policyAccept
	policyDrop
	policyOther
)

// body is a chain once a packet met it.
type body struct {
	table, name string
	base        bool
	policy      policy
	lines       []run
	rules       []atomic.Pointer[rule]
	dispatch    *dispatch
	rs          *Ruleset
}

// Parse indexes the text of iptables-save or ip6tables-save; -c counters, CRLF,
// indented lines and iptables-restore's -N, -P and -I are understood. name is
// used in messages. The error is a [*ParseError] for a text that is no
// iptables-save or that is cut off: a rule before any table, a table without
// COMMIT. A rule that is not understood is no error: it is kept, and matters only
// to a packet that reaches it. An empty text is an empty ruleset, as
// iptables-save prints nothing where no rules were ever loaded.
//
// The text is not copied and must stay unchanged as long as the Ruleset is used.
func Parse(name string, data []byte) (*Ruleset, error) {
	if len(data) > maxText {
		return nil, &ParseError{File: name, Msg: fmt.Sprintf("is %d bytes long; at most %d are read", len(data), maxText)}
	}
	return parse(name, data, ^uint64(indexMask))
}

func parse(name string, data []byte, tag uint64) (*Ruleset, error) {
	rs := &Ruleset{name: name, data: data, seed: maphash.MakeSeed(), tag: tag}
	x := indexer{rs: rs}
	if err := x.run(); err != nil {
		err.File = name
		return nil, err
	}
	rs.index.Store(&x.tables)
	return rs, nil
}

// reindex indexes the text again, comparing names: two chains were taken for one
// because of their hashes, which happens to one large text in a hundred million.
func (rs *Ruleset) reindex() {
	rs.mend.Lock()
	defer rs.mend.Unlock()
	if rs.careful.Load() {
		return
	}
	x := indexer{rs: rs, careful: true}
	if x.run() == nil {
		rs.index.Store(&x.tables)
	}
	rs.careful.Store(true)
}

type indexer struct {
	rs      *Ruleset
	tables  []*table
	t       *table
	line    int
	prev    []byte // "-A CHAIN " of the line before
	cur     int32  // its chain
	inserts int
	careful bool // compare names, not only their hashes
	full    bool // more chains than can be told apart
	stray   int  // line of the first stray text outside of tables
	strayIs string
}

func (x *indexer) fail(col int, format string, args ...any) *ParseError {
	return &ParseError{Line: x.line, Column: col, Msg: fmt.Sprintf(format, args...)}
}

func (x *indexer) run() *ParseError {
	data := x.rs.data
	for off := 0; off < len(data); {
		end := bytes.IndexByte(data[off:], '\n')
		next := off + end + 1
		if end < 0 {
			end, next = len(data), len(data)
		} else {
			end += off
		}
		x.line++
		// The fast way: a rule of the chain the line before belongs to.
		if l := len(x.prev); l > 0 && end-off > l && data[off+l-2] == x.prev[l-2] && bytes.Equal(data[off:off+l], x.prev) {
			c := &x.t.chains[x.cur]
			c.count++
			if c.more == nil {
				c.first.end = int32(end)
			} else {
				(*c.more)[len(*c.more)-1].end = int32(end)
			}
			off = next
			continue
		}
		if err := x.one(off, end); err != nil {
			return err
		}
		off = next
	}
	if x.full {
		return &ParseError{Msg: fmt.Sprintf("more than %d chains in one table", maxChains)}
	}
	if x.t != nil {
		return x.fail(0, "the text ends inside table %s: COMMIT is missing, it is cut off", x.t.name)
	}
	if len(x.tables) == 0 && x.stray > 0 {
		return &ParseError{Line: x.stray, Column: 1, Msg: fmt.Sprintf("this is no iptables-save: no table begins (*nat, *filter), but %s stands here", quoteShort(x.strayIs))}
	}
	return nil
}

func trimLine(data []byte, off, end int) (int, int) {
	for off < end && (data[off] == ' ' || data[off] == '\t') {
		off++
	}
	for end > off && (data[end-1] == ' ' || data[end-1] == '\t' || data[end-1] == '\r') {
		end--
	}
	return off, end
}

// one reads a line that does not simply continue a chain.
func (x *indexer) one(off, end int) *ParseError {
	data := x.rs.data
	start := off
	off, end = trimLine(data, off, end)
	x.prev = nil
	if off == end || data[off] == '#' {
		return nil
	}
	s := data[off:end]
	if bytes.IndexByte(s, 0) >= 0 {
		return x.fail(bytes.IndexByte(s, 0)+1, "this is no iptables-save: a zero byte stands here")
	}
	if s[0] == '*' {
		return x.begin(off, end)
	}
	if x.t == nil {
		if s[0] == ':' || bytes.HasPrefix(s, []byte("-A ")) || s[0] == '[' || string(s) == "COMMIT" {
			return x.fail(1, "%s stands outside of a table: the text's beginning is missing", quoteShort(string(s)))
		}
		if x.stray == 0 {
			x.stray, x.strayIs = x.line, string(s)
		}
		return nil
	}
	if string(s) == "COMMIT" {
		x.t.text.end = int32(end)
		x.commit()
		return nil
	}
	if s[0] == ':' {
		name, rest, _ := bytes.Cut(s[1:], []byte(" "))
		if len(name) == 0 {
			return x.fail(off-start+2, "a chain without a name")
		}
		c := &x.t.chains[x.chain(off+1, off+1+len(name))]
		c.defined = true
		pol, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
		c.policy = policyOf(string(pol))
		return nil
	}
	body := off
	if s[0] == '[' { // [packets:bytes] of -c
		i := bytes.IndexByte(s, ']')
		if i < 0 {
			return x.strange(off, end)
		}
		body, _ = trimLine(data, off+i+1, end)
		s = data[body:end]
	}
	switch {
	case bytes.HasPrefix(s, []byte("-A ")):
		return x.rule(off, body, end, start)
	case bytes.HasPrefix(s, []byte("-I ")):
		return x.insert(off, body, end)
	case bytes.HasPrefix(s, []byte("-N ")), bytes.HasPrefix(s, []byte("-P ")):
		a, b := trimLine(data, body+3, end)
		name, rest, _ := bytes.Cut(data[a:b], []byte(" "))
		if len(name) == 0 {
			return x.strange(off, end)
		}
		c := &x.t.chains[x.chain(a, a+len(name))]
		c.defined = true
		if s[1] == 'P' {
			c.policy = policyOf(string(bytes.TrimSpace(rest)))
		}
		return nil
	}
	return x.strange(off, end)
}

func policyOf(s string) policy {
	switch s {
	case "ACCEPT":
		return policyAccept
	case "DROP":
		return policyDrop
	case "-", "":
		return noPolicy
	default:
		return policyOther
	}
}

func (x *indexer) strange(off, end int) *ParseError {
	if len(x.t.strange) < maxRemarks {
		x.t.strange = append(x.t.strange, span{int32(off), int32(end)})
	}
	return nil
}

func (x *indexer) begin(off, end int) *ParseError {
	if x.t != nil {
		return x.fail(1, "table %s has no COMMIT before this line: the text is cut off", x.t.name)
	}
	name := string(bytes.TrimSpace(x.rs.data[off+1 : end]))
	if name == "" || strings.ContainsAny(name, " \t") || len(name) > 32 {
		return x.fail(1, "%s is no table", quoteShort(string(x.rs.data[off:end])))
	}
	if len(x.tables) >= maxTables {
		return x.fail(1, "more than %d tables", maxTables)
	}
	x.t = &table{name: name, line: x.line, text: span{int32(end), int32(end)}}
	x.cur = -1
	x.t.size(x.rs, end)
	return nil
}

// size makes room for the chains that are declared at the head of the table.
func (t *table) size(rs *Ruleset, off int) {
	n := 0
	for rest := rs.data[off:]; ; n++ {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 || i+1 >= len(rest) || rest[i+1] != ':' {
			break
		}
		rest = rest[i+1:]
	}
	t.chains = make([]chain, 0, n+8)
	slots := 64
	for slots < 2*n+2 {
		slots *= 2
	}
	t.slots = make([]uint64, slots)
}

func (x *indexer) commit() {
	t := x.t
	x.t = nil
	for _, o := range x.tables {
		if o.name != t.name {
			continue
		}
		if !bytes.Equal(x.rs.data[o.text.off:o.text.end], x.rs.data[t.text.off:t.text.end]) && o.again == 0 {
			o.again = t.line
		}
		return
	}
	x.tables = append(x.tables, t)
}

// rule adds a line to its chain. off is where the line begins with its counters,
// start where it begins with its indent.
func (x *indexer) rule(off, body, end, start int) *ParseError {
	data := x.rs.data
	i := bytes.IndexByte(data[body+3:end], ' ')
	nameEnd := body + 3 + i
	if i < 0 {
		nameEnd = end
	}
	if nameEnd == body+3 {
		return x.strange(off, end)
	}
	x.cur = x.chain(body+3, nameEnd)
	c := &x.t.chains[x.cur]
	c.count++
	last := &c.first
	if c.count > 1 {
		// With the line before a rule of the same chain the run goes on; the
		// fast way does not see lines with counters.
		if c.more != nil {
			last = &(*c.more)[len(*c.more)-1]
		}
		if !x.adjoins(last.end, off) {
			if c.more == nil {
				c.more = new([]run)
			}
			*c.more = append(*c.more, run{span{int32(off), int32(end)}, int32(x.line)})
			last = nil
		}
	} else {
		last.off, last.line = int32(off), int32(x.line)
	}
	if last != nil {
		last.end = int32(end)
	}
	if start == body && i >= 0 {
		x.prev = data[body : nameEnd+1]
	}
	return nil
}

// adjoins says whether only blanks lie between two places of the text.
func (x *indexer) adjoins(end int32, off int) bool {
	for _, b := range x.rs.data[end:off] {
		if b != '\n' && b != '\r' && b != ' ' && b != '\t' {
			return false
		}
	}
	return true
}

// insert does what iptables-restore does with -I CHAIN [NUMBER].
func (x *indexer) insert(off, body, end int) *ParseError {
	if x.inserts++; x.inserts > maxInserts {
		return x.fail(1, "more than %d -I lines", maxInserts)
	}
	a, b := trimLine(x.rs.data, body+3, end)
	name, rest, _ := bytes.Cut(x.rs.data[a:b], []byte(" "))
	if len(name) == 0 {
		return x.strange(off, end)
	}
	at := 1
	if num, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" ")); len(num) > 0 && num[0] >= '0' && num[0] <= '9' {
		n, err := strconv.Atoi(string(num))
		if err != nil || n < 1 {
			return x.strange(off, end)
		}
		at = n
	}
	c := &x.t.chains[x.chain(a, a+len(name))]
	lines := x.rs.linesOf(c)
	if at > len(lines)+1 {
		return x.strange(off, end)
	}
	runs := make([]run, 0, len(lines)+1)
	runs = append(runs, lines[:at-1]...)
	runs = append(runs, run{span{int32(off), int32(end)}, int32(x.line)})
	runs = append(runs, lines[at-1:]...)
	c.first, c.more, c.count = runs[0], nil, int32(len(runs))
	if more := runs[1:]; len(more) > 0 {
		c.more = &more
	}
	return nil
}

// A slot holds the index of a chain plus one in its low bits and as much of the
// hash of its name above. While indexing that much is taken for the name, which
// saves a look at the text for each line; what a packet meets is compared with
// the text (see [Ruleset.body]).
const (
	indexBits = 24
	maxChains = 1<<indexBits - 2
	indexMask = 1<<indexBits - 1
)

// chain finds or makes the chain named by data[off:end].
func (x *indexer) chain(off, end int) int32 {
	t := x.t
	name := x.rs.data[off:end]
	// Rules mostly stand in the order in which their chains are declared.
	if n := int(x.cur) + 1; n < len(t.chains) && bytes.Equal(x.rs.text(t.chains[n].name), name) {
		return int32(n)
	}
	if len(t.chains)*2 >= len(t.slots) {
		t.grow(x.rs, max(64, 2*len(t.slots)))
	}
	mask := uint64(len(t.slots) - 1)
	hash := maphash.Bytes(x.rs.seed, name)
	for h := hash & mask; ; h = (h + 1) & mask {
		s := t.slots[h]
		if s == 0 {
			n := len(t.chains)
			if n >= maxChains {
				x.full = true
				n--
				return int32(n)
			}
			if n == cap(t.chains) {
				t.reserve(2 * n)
			}
			t.chains = t.chains[:n+1]
			t.chains[n].name = span{int32(off), int32(end)}
			t.slots[h] = hash&^indexMask | uint64(n+1)
			return int32(n)
		}
		if (s^hash)&x.rs.tag == 0 && (!x.careful || bytes.Equal(x.rs.text(t.chains[s&indexMask-1].name), name)) {
			return int32(s&indexMask) - 1
		}
	}
}

// reserve makes room for n chains. A chain holds an atomic and is not copied
// once in use; while indexing it is not yet.
func (t *table) reserve(n int) {
	bigger := make([]chain, len(t.chains), max(16, n))
	for k := range t.chains {
		o, b := &t.chains[k], &bigger[k]
		b.name, b.first, b.more, b.count, b.policy, b.defined = o.name, o.first, o.more, o.count, o.policy, o.defined
	}
	t.chains = bigger
}

func (t *table) grow(rs *Ruleset, n int) {
	t.slots = make([]uint64, n)
	mask := uint64(n - 1)
	for i := range t.chains {
		hash := maphash.Bytes(rs.seed, rs.text(t.chains[i].name))
		h := hash & mask
		for t.slots[h] != 0 {
			h = (h + 1) & mask
		}
		t.slots[h] = hash&^indexMask | uint64(i+1)
	}
}

func (rs *Ruleset) text(s span) []byte { return rs.data[s.off:s.end] }

// table returns the table of that name, or nil.
func (rs *Ruleset) table(name string) *table {
	for _, t := range rs.tables() {
		if t.name == name {
			return t
		}
	}
	return nil
}

// find returns the chain of that name, or nil.
func (t *table) find(rs *Ruleset, name string) *chain {
	if len(t.slots) == 0 {
		return nil
	}
	mask := uint64(len(t.slots) - 1)
	hash := maphash.String(rs.seed, name)
	clash := false
	for h := hash & mask; ; h = (h + 1) & mask {
		s := t.slots[h]
		if s == 0 {
			break
		}
		if (s^hash)&rs.tag != 0 {
			continue
		}
		if c := &t.chains[s&indexMask-1]; string(rs.text(c.name)) == name {
			return c
		}
		clash = true
	}
	if !clash || rs.careful.Load() {
		return nil
	}
	// Another chain of the same hash may have taken this one's lines.
	rs.reindex()
	if t = rs.table(t.name); t == nil {
		return nil
	}
	return t.find(rs, name)
}

// body returns the chain's lines, found when it is first asked for.
func (rs *Ruleset) body(t *table, c *chain) *body {
	if b := c.body.Load(); b != nil {
		return b
	}
	lines := rs.linesOf(c)
	name := string(rs.text(c.name))
	if slices.ContainsFunc(lines, func(l run) bool { return !rs.ofChain(l.span, name) }) {
		rs.reindex()
		if t = rs.table(t.name); t != nil {
			if again := t.find(rs, name); again != nil {
				c, lines = again, rs.linesOf(again)
			}
		}
	}
	b := &body{
		table: t.name, name: name, policy: c.policy, lines: lines, rs: rs,
		rules: make([]atomic.Pointer[rule], len(lines)), base: isBase(t.name, name),
	}
	if len(lines) >= dispatchFrom {
		b.dispatch = rs.dispatchOf(lines)
	}
	c.body.CompareAndSwap(nil, b)
	return c.body.Load()
}

// ofChain says whether a line is a rule of that chain.
func (rs *Ruleset) ofChain(l span, chain string) bool {
	text := rs.text(l)
	if text[0] == '[' {
		text = bytes.TrimLeft(text[bytes.IndexByte(text, ']')+1:], " \t")
	}
	text = bytes.TrimLeft(text[2:], " \t")
	return len(text) >= len(chain) && string(text[:len(chain)]) == chain && (len(text) == len(chain) || text[len(chain)] == ' ')
}

// linesOf splits the runs of a chain into lines.
func (rs *Ruleset) linesOf(c *chain) []run {
	if c.count == 0 {
		return nil
	}
	lines := make([]run, 0, c.count)
	split := func(r run) {
		for off := int(r.off); off < int(r.end); r.line++ {
			end := bytes.IndexByte(rs.data[off:r.end], '\n')
			next := off + end + 1
			if end < 0 {
				end, next = int(r.end), int(r.end)
			} else {
				end += off
			}
			a, b := trimLine(rs.data, off, end)
			if a < b {
				lines = append(lines, run{span{int32(a), int32(b)}, r.line})
			}
			off = next
		}
	}
	split(c.first)
	if c.more != nil {
		for _, r := range *c.more {
			split(r)
		}
	}
	return lines
}

// lineNumber counts the lines before a place of the text, from 1.
func (rs *Ruleset) lineNumber(s span) int {
	return bytes.Count(rs.data[:s.off], []byte{'\n'}) + 1
}

// rule returns rule i of the chain, from 0, read when it is first asked for.
func (b *body) rule(i int) *rule {
	if r := b.rules[i].Load(); r != nil {
		return r
	}
	text := b.rs.text(b.lines[i].span)
	if text[0] == '[' {
		if j := bytes.IndexByte(text, ']'); j >= 0 {
			text = bytes.TrimLeft(text[j+1:], " \t")
		}
	}
	r := parseRule(string(text))
	r.line = int(b.lines[i].line)
	b.rules[i].CompareAndSwap(nil, r)
	return b.rules[i].Load()
}

// isBase says whether a chain is one the kernel itself calls.
func isBase(table, chain string) bool {
	switch chain {
	case "PREROUTING":
		return table == "raw" || table == "mangle" || table == "nat"
	case "INPUT":
		return table != "raw"
	case "FORWARD":
		return table == "mangle" || table == "filter" || table == "security"
	case "OUTPUT":
		return true
	case "POSTROUTING":
		return table == "mangle" || table == "nat"
	}
	return false
}

// Name is the name the text was parsed under.
func (rs *Ruleset) Name() string { return rs.name }

// Empty says whether the text holds no rule at all.
func (rs *Ruleset) Empty() bool {
	if rs == nil {
		return true
	}
	for _, t := range rs.tables() {
		for i := range t.chains {
			if t.chains[i].count > 0 || t.chains[i].policy == policyDrop {
				return false
			}
		}
		if len(t.strange) > 0 {
			return false
		}
	}
	return true
}

// HasChain says whether a table holds a chain.
func (rs *Ruleset) HasChain(table, chain string) bool {
	if rs == nil {
		return false
	}
	t := rs.table(table)
	return t != nil && t.find(rs, chain) != nil
}

// Counts returns the number of tables, chains and rules.
func (rs *Ruleset) Counts() (tables, chains, rules int) {
	for _, t := range rs.tables() {
		tables++
		chains += len(t.chains)
		for i := range t.chains {
			rules += int(t.chains[i].count)
		}
	}
	return tables, chains, rules
}

func quoteShort(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.Quote(s)
}

// Family is the address family the text says it is of: 4, 6, or 0 where it does
// not tell.
func (rs *Ruleset) Family() int {
	first, _, _ := bytes.Cut(rs.data, []byte{'\n'})
	switch {
	case bytes.HasPrefix(first, []byte("# Generated by ip6tables")):
		return 6
	case bytes.HasPrefix(first, []byte("# Generated by iptables")):
		return 4
	}
	return 0
}

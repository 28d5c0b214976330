package explain

// Kind says what kind of word an item explains.
type Kind string

// The kinds of words.
const (
	Flag      Kind = "response flag"
	Detail    Kind = "response code detail"
	Transport Kind = "transport failure"
	Term      Kind = "term"
)

// Item is one entry of the dictionary.
type Item struct {
	Word    string   `json:"word"`
	Kind    Kind     `json:"kind"`
	Name    string   `json:"name,omitempty"` // the long name, for flags
	Meaning string   `json:"meaning"`
	Causes  []string `json:"causes,omitempty"`
	Look    []string `json:"look,omitempty"` // what to look at, commands included
	Codes   []string `json:"codes,omitempty"` // finding codes that name the fault
}

// Lookup explains a word: a flag, a detail with or without its braces, a
// transport failure reason, a term.
func Lookup(word string) (Item, bool) { return Item{}, false }

// Nearest returns the known words most like word, best first.
func Nearest(word string, limit int) []string { return nil }

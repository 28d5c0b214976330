package matcher

// Verdict is a three-valued answer. The zero value is Undecided.
type Verdict uint8

// The answers.
const (
	Undecided Verdict = iota
	No
	Yes
)

func (v Verdict) String() string {
	switch v {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "undecided"
	}
}

// Of turns a plain truth into a verdict.
func Of(b bool) Verdict {
	if b {
		return Yes
	}
	return No
}

// Not inverts; Undecided stays.
func (v Verdict) Not() Verdict {
	switch v {
	case Yes:
		return No
	case No:
		return Yes
	default:
		return Undecided
	}
}

package iptables

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
)

// result turns the ends of the walk into outcomes.
func (w *walk) result() Result {
	r := Result{Outcomes: make([]Outcome, 0, min(len(w.leaves), maxOutcomes)+1), Assumptions: w.assumed}
	type same struct {
		effectKey
		path uint64
	}
	var seen map[same]int
	if len(w.leaves) > 1 {
		seen = make(map[same]int, len(w.leaves))
	}
	for i := range w.leaves {
		l := &w.leaves[i]
		if l.prob == 0 {
			continue
		}
		if seen != nil {
			k := same{l.key(), l.path.sum()}
			if at, ok := seen[k]; ok {
				if at >= 0 {
					r.Outcomes[at].Probability += l.prob
				}
				continue
			}
			seen[k] = -1
			if len(r.Outcomes) < maxOutcomes {
				seen[k] = len(r.Outcomes)
			}
		}
		if len(r.Outcomes) == maxOutcomes {
			w.rest[l.verdictNow()].prob += l.prob
			w.rest[l.verdictNow()].n++
			continue
		}
		r.Outcomes = append(r.Outcomes, w.outcome(l, 0))
	}
	sortOutcomes(r.Outcomes)
	for _, v := range []Verdict{Accept, Drop, Reject, Undetermined} {
		if s := w.rest[v]; s.n > 0 {
			r.Outcomes = append(r.Outcomes, Outcome{
				Probability: s.prob, Verdict: v, Src: w.p.Src, Mark: Mark(w.p.Mark), Path: []Step{}, More: s.n,
				Reason: fmt.Sprintf("%d further ways, not listed one by one", s.n),
			})
		}
	}
	total := 0.0
	for i := range r.Outcomes {
		total += r.Outcomes[i].Probability
	}
	if total > 0 && math.Abs(total-1) > 1e-9 {
		for i := range r.Outcomes {
			r.Outcomes[i].Probability /= total
		}
	}
	return r
}

// sum is a fingerprint of a path.
func (n *pathNode) sum() uint64 {
	h := uint64(14695981039346656037)
	for ; n != nil; n = n.prev {
		h = (h ^ uint64(n.rule+1)) * 1099511628211
		if len(n.body.lines) > 0 {
			h = (h ^ uint64(n.body.lines[0].off)) * 1099511628211
		}
	}
	return h
}

func (l *leaf) verdictNow() Verdict {
	if l.unknown != nil {
		return Undetermined
	}
	return l.verdict
}

func (w *walk) outcome(l *leaf, depth int) Outcome {
	o := Outcome{
		Probability: l.prob, Verdict: l.verdictNow(), Dst: netip.AddrPortFrom(l.dst, l.dport), Src: netip.AddrPortFrom(l.src, l.sport), DNAT: l.dnatted, Masquerade: l.masq,
		Mark: Mark(l.mark), CTMark: Mark(l.ctmark), Redirect: l.redirect, RejectWith: l.rejectWith, Local: l.local && l.verdict != Drop && l.verdict != Reject,
		Untracked: l.state == Untracked, Path: w.pathSteps(l.path), Out: l.wayOut,
	}
	if l.masq {
		o.Src = l.beforeMasq
	}
	if l.masq && l.snat.Addr().IsValid() || l.snatted {
		s := l.snat
		o.SNAT = &s
	}
	if l.tproxy.IsValid() {
		t := l.tproxy
		o.TProxy = &t
	}
	if l.local {
		o.Out = ""
	}
	if l.policy != nil {
		o.Policy = &Step{Hook: l.policy.name, Table: l.policy.table, Chain: l.policy.name, Text: ":" + l.policy.name + " DROP", Action: "policy drop", Source: l.policy.rs.name}
	}
	for _, list := range []*pathNode{l.unknown, l.minor} {
		for n := list; n != nil; n = n.prev {
			s := w.step(n)
			s.Action = "not known: " + n.why
			o.Unknown = append(o.Unknown, s)
		}
	}
	if depth == 0 {
		for i := range l.other {
			o.Otherwise = append(o.Otherwise, w.outcome(&l.other[i], 1))
		}
	}
	if l.policy == nil && l.decider != nil && (l.verdict == Drop || l.verdict == Reject) {
		o.Cause, o.Owner = w.cause(l.decider, l.deciding, l.verdict)
	} else if l.policy != nil {
		o.Cause = OtherOwner
	}
	o.Service = w.h.Names.serviceOf(l.path, netip.AddrPortFrom(w.p.Dst.Addr(), w.p.Dst.Port()), w.p.Proto)
	o.Reason = w.reason(l, &o)
	if o.Verdict == Accept && !l.dnatted && !l.hasEntryNAT() {
		if why := w.h.notProxied(w, l); why != "" {
			o.Verdict, o.Reason, o.Elsewhere = Undetermined, why, true
		}
	}
	return o
}

// reason says in one sentence why the way ends as it does.
func (w *walk) reason(l *leaf, o *Outcome) string {
	rule := func() string {
		if l.decider == nil {
			return ""
		}
		return l.decider.table + " " + l.decider.name + " rule " + strconv.Itoa(l.deciding+1)
	}
	if l.unknown != nil {
		n := l.unknown
		ends := "this packet is " + pastTense(l.verdict)
		if l.verdict == Undetermined {
			ends = "the end is not known either"
		}
		return fmt.Sprintf("undetermined by %s %s rule %d (%s): %s; where it does not decide, %s", n.body.table, n.body.name, n.rule+1, n.body.rule(n.rule).text, n.why, ends)
	}
	switch l.verdict {
	case Accept:
		s := "accepted"
		switch {
		case l.tproxy.IsValid():
			s = "handed to the local socket " + l.tproxy.String()
		case l.redirect != 0:
			s = "redirected to " + o.Dst.String()
		case l.dnatted:
			s = "DNAT to " + formatAddrPort(o.Dst)
		case l.local:
			s = "delivered locally"
		}
		if l.masq {
			s += ", masqueraded"
		} else if l.snatted {
			s += ", SNAT to " + formatAddrPort(l.snat)
		}
		return s
	case Drop:
		if l.policy != nil {
			return "dropped by the policy of " + l.policy.table + " " + l.policy.name
		}
		s := "dropped by " + rule()
		if l.why != "" {
			s += ": " + l.why
		}
		return s + causeText(o.Cause)
	case Reject:
		return "rejected with " + l.rejectWith + " by " + rule() + causeText(o.Cause)
	default:
		if l.why == "" {
			return "undetermined"
		}
		if l.decider != nil && l.cur != nil {
			return "undetermined at " + rule() + " (" + l.decider.rule(l.deciding).text + "): " + l.why
		}
		return "undetermined: " + l.why
	}
}

func pastTense(v Verdict) string {
	switch v {
	case Accept:
		return "accepted"
	case Drop:
		return "dropped"
	case Reject:
		return "rejected"
	default:
		return "undetermined"
	}
}

func causeText(c Cause) string {
	switch c {
	case NoEndpoints:
		return ": the Service has no endpoints"
	case NoLocalEndpoints:
		return ": the Service has no endpoint on this node and its traffic policy is Local"
	case SourceRanges:
		return ": the source is not in loadBalancerSourceRanges"
	}
	return ""
}

// pathSteps lists a path from its beginning.
func (w *walk) pathSteps(n *pathNode) []Step {
	count := 0
	for k := n; k != nil; k = k.prev {
		count++
	}
	out := make([]Step, count)
	for k := n; k != nil; k = k.prev {
		count--
		out[count] = w.step(k)
	}
	return out
}

func (w *walk) step(n *pathNode) Step {
	r := n.body.rule(n.rule)
	s := Step{Hook: n.hook, Table: n.body.table, Chain: n.body.name, Rule: n.rule + 1, Text: r.text, Action: r.action, Line: r.line, Source: n.body.rs.name}
	s.Changed = n.diff
	s.Note = w.h.Names.note(n.body, r)
	return s
}

// Verdicts lists the verdicts that outcomes have, without repeating any.
func (r Result) Verdicts() []Verdict {
	var out []Verdict
	for _, o := range r.Outcomes {
		if !slices.Contains(out, o.Verdict) {
			out = append(out, o.Verdict)
		}
	}
	return out
}

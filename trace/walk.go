package trace

import "context"

func (t *Tracer) trace(ctx context.Context, target Target) (*Report, error) {
	return &Report{Schema: Schema, Target: target, Verdict: Undetermined, Summary: "not walked",
		Paths: []Path{}, Hops: []Hop{}, Findings: []Finding{}, Collected: Collected{Read: []Read{}, NotRead: []NotRead{}}, Tool: Tool{Version: t.Version}}, ctx.Err()
}

package trace

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
)

// scaled is a Deployment whose Pods a Service would select, had it any.
type scaled struct {
	says    string // for the end of a sentence about the selector
	fix     []string
	query   Query
	excerpt string
}

// scaledToZero is the Deployment of a namespace that is scaled to 0 and whose Pods
// the selector would match; nil where there is none. The Deployments add to what is
// known and are no loss where they were not read.
func (q *inquiry) scaledToZero(namespace string, selector map[string]string) *scaled {
	query := Query{Area: AreaCluster, File: "deployments.apps", Select: Selector{Namespace: namespace}}
	obs, notRead := q.observeIf(query, true)
	if notRead != nil || q.err != nil || len(selector) == 0 {
		return nil
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if json.Unmarshal(obs.Data, &list) != nil {
		return nil
	}
	for _, raw := range list.Items {
		var d struct {
			Metadata struct{ Name, Namespace string }
			Spec     struct {
				Replicas *int32
				Template struct {
					Metadata struct{ Labels map[string]string }
				}
			}
		}
		if json.Unmarshal(raw, &d) != nil || d.Metadata.Namespace != namespace || d.Spec.Replicas == nil || *d.Spec.Replicas != 0 ||
			!labels.SelectorFromSet(selector).Matches(labels.Set(d.Spec.Template.Metadata.Labels)) {
			continue
		}
		query.Select.Name = d.Metadata.Name
		return &scaled{
			says: fmt.Sprintf(": Deployment %s/%s, which makes such Pods, is scaled to 0", namespace, d.Metadata.Name),
			fix: []string{
				fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=1   # was it scaled down on purpose?", namespace, d.Metadata.Name),
				fmt.Sprintf("kubectl -n %s get hpa,events   # who did it", namespace),
			},
			query:   query,
			excerpt: pick(raw, "kind", "metadata.name", "metadata.namespace", "spec.replicas"),
		}
	}
	return nil
}

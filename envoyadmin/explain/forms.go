package explain

import (
	"strings"
)

// lookupForm explains names that are made after a known form.
//
//	outbound|PORT|SUBSET|HOST   inbound|PORT|...|   inbound-vip|PORT|PROTOCOL|HOST
//	outbound_.PORT_.SUBSET_.HOST
//	KUBE-SVC-HASH and the like
//	spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT
//	ADDRESS_PORT, http.PORT
//	%OPERATOR(ARGUMENT):LENGTH%
func lookupForm(word string) (Item, bool) {
	if it, ok := clusterName(word); ok {
		return it, true
	}
	if name := strings.Trim(word, "%"); name != word {
		name, _, _ = strings.Cut(name, "(")
		name, _, _ = strings.Cut(name, ":")
		switch name { // the newer spellings
		case "REQUEST_HEADER":
			name = "REQ"
		case "RESPONSE_HEADER":
			name = "RESP"
		case "RESPONSE_TRAILER":
			name = "TRAILER"
		}
		if it, ok := dictionary().byWord[strings.ToLower(name)]; ok && it.Kind == Operator {
			return *it, true
		}
	}
	if strings.HasPrefix(word, "KUBE-") {
		// The longest known chain that is the beginning of the name.
		for at := len(word); at > 0; at = strings.LastIndexByte(word[:at], '-') {
			if it, ok := dictionary().byWord[strings.ToLower(word[:at])]; ok {
				out := *it
				out.Word = word
				return out, true
			}
		}
	}
	if rest, ok := strings.CutPrefix(word, "spiffe://"); ok {
		parts := strings.Split(rest, "/")
		if len(parts) == 5 && parts[1] == "ns" && parts[3] == "sa" {
			return Item{
				Word: word, Kind: Term,
				Meaning: "Identity in Istio's mTLS: service account " + parts[4] + " in namespace " + parts[2] + " of trust domain " + parts[0] + ". In an AuthorizationPolicy the principal is written without spiffe://.",
				Look:    []string{"kubectl get pod -n " + parts[2] + " -o custom-columns=POD:.metadata.name,SA:.spec.serviceAccountName"},
			}, true
		}
	}
	if port, ok := strings.CutPrefix(word, "http."); ok && isPort(port) {
		return Item{Word: word, Kind: Term, Meaning: "Istio's route table of a gateway's HTTP listener on port " + port + ".", Look: []string{"istioctl proxy-config routes POD --name " + word + " -o json"}}, true
	}
	if i := strings.LastIndexByte(word, '_'); i > 0 && isPort(word[i+1:]) && strings.ContainsAny(word[:i], ".:") {
		return Item{Word: word, Kind: Term, Meaning: "Istio's listener on address " + word[:i] + ", port " + word[i+1:] + "; 0.0.0.0 takes every address that no listener of its own has.", Look: []string{"istioctl proxy-config listeners POD --port " + word[i+1:]}}, true
	}
	return Item{}, false
}

// clusterName explains Istio's cluster names and the SNI made of them.
func clusterName(word string) (Item, bool) {
	sep := "|"
	if strings.HasPrefix(word, "outbound_.") || strings.HasPrefix(word, "inbound_.") {
		sep = "_."
	}
	parts := strings.SplitN(word, sep, 4)
	if len(parts) != 4 || !isPort(parts[1]) {
		return Item{}, false
	}
	direction, port, subset, host := parts[0], parts[1], strings.Trim(parts[2], "_"), parts[3]
	it := Item{Word: word, Kind: Term}
	switch direction {
	case "outbound":
		it.Meaning = "Istio's cluster for port " + port + " of " + host
		if subset != "" {
			it.Meaning += ", subset " + subset + " of its DestinationRule"
			it.Codes = []string{"HT5001", "HT5002"}
		}
		it.Meaning += "."
		if sep == "_." {
			it.Meaning += " In this form it is the SNI by which a proxy of the mesh asks for it."
		}
		it.Look = []string{"istioctl proxy-config endpoints POD --cluster '" + strings.Join([]string{direction, port, subset, host}, "|") + "'"}
	case "inbound":
		it.Meaning = "The sidecar's own application on port " + port + "."
		it.Look = []string{"in the Pod: ss -ltn | grep :" + port}
	case "inbound-vip":
		it.Meaning = "A waypoint's cluster for port " + port + " (" + subset + ") of " + host + "."
	default:
		return Item{}, false
	}
	return it, true
}

func isPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}

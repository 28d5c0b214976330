package trace

import "slices"

// rules is every fault hoptrail names, by code. Adding one is a row here, its
// function in a file of its name, a world and a page in docs/findings. A code is
// never used for anything else; a retired one stays listed without a function.
var rules = []rule{
	{code: "HT0001", title: "data not collected", severity: SeverityWarning, reads: "what the walk wanted and did not get", find: ht0001},
	{code: "HT0002", title: "something that cannot be evaluated could change the verdict", severity: SeverityWarning, reads: "hops that are undetermined", find: ht0002},
	{code: "HT1001", title: "name does not resolve to an address of this cluster", severity: SeverityError, reads: "DNS answers against the cluster's addresses", find: ht1001},
	{code: "HT1002", title: "port is not exposed by the Service", severity: SeverityError, reads: "Service ports and nodePorts", find: ht1002},
	{code: "HT1003", title: "Gateway port is not a port of the gateway's Service", severity: SeverityError, reads: "Gateway servers[].port against Service port and targetPort", suppresses: []string{"HT5001", "HT3001", "HT3002"}, find: ht1003},
	{code: "HT1004", title: "loadBalancerSourceRanges excludes the client", severity: SeverityError, reads: "KUBE-FW chains, ranges against the source", find: ht1004},
	{code: "HT1005", title: "load balancer checks a port that is no NodePort", severity: SeverityWarning, reads: "health check annotations, healthCheckNodePort, nodePorts", find: ht1005},
	{code: "HT1006", title: "load balancer has no address yet", severity: SeverityError, reads: "Service status.loadBalancer", suppresses: []string{"HT1001"}, find: ht1006},
	{code: "HT1007", title: "Service has no ready endpoint", severity: SeverityError, reads: "selector against labels; EndpointSlice conditions; the REJECT rule", suppresses: []string{"HT2007"}, find: ht1007},
	{code: "HT1008", title: "targetPort names no port of the Pods", severity: SeverityError, reads: "targetPort against container ports", suppresses: []string{"HT1007", "HT5002"}, find: ht1008},
	{code: "HT2001", title: "externalTrafficPolicy Local and no endpoint on this node", severity: SeverityError, reads: "the DROP rule for no local endpoints; EndpointSlice nodeName", find: ht2001},
	{code: "HT2002", title: "stale conntrack entry", severity: SeverityError, reads: "conntrack entries against Pod addresses", find: ht2002},
	{code: "HT2003", title: "legacy and nft rules both loaded", severity: SeverityError, reads: "KUBE- chains of both backends", suppresses: []string{"HT2006", "HT2002", "HT0002"}, find: ht2003},
	{code: "HT2004", title: "connection table full", severity: SeverityError, reads: "conntrack -S, nf_conntrack_count and _max", find: ht2004},
	{code: "HT2005", title: "Pod asks its own load balancer address under externalTrafficPolicy Local", severity: SeverityError, reads: "KUBE-EXT short circuit, source in the Pod range", suppresses: []string{"HT2001"}, find: ht2005},
	{code: "HT2006", title: "node's rules disagree with the EndpointSlices", severity: SeverityError, reads: "KUBE-SEP targets against EndpointSlices", find: ht2006},
	{code: "HT2007", title: "dropped by another owner's rule", severity: SeverityError, reads: "the rule that dropped the packet", find: ht2007},
	{code: "HT3001", title: "Gateway selector matches no Pod", severity: SeverityError, reads: "Gateway selector against Pod labels; the missing listener", suppresses: []string{"HT3002"}, find: ht3001},
	{code: "HT3002", title: "nothing listens on the port in the gateway", severity: SeverityError, reads: "the missing listener; Gateway servers; Service targetPort below 1024", find: ht3002},
	{code: "HT3003", title: "SNI is absent or matches no filter chain", severity: SeverityError, reads: "server_names of each chain", suppresses: []string{"HT9002"}, find: ht3003},
	{code: "HT3004", title: "two Gateways claim one host and port", severity: SeverityError, reads: "Gateway servers, creation times", suppresses: []string{"HT4001", "HT4002", "HT4007"}, find: ht3004},
	{code: "HT3005", title: "TLS secret missing, misplaced or expired", severity: SeverityError, reads: "warming secrets, /certs, names and times of certificates, Gateway credentialName, namespace of the Secret", suppresses: []string{"HT3003", "HT3006"}, find: ht3005},
	{code: "HT3006", title: "plain text to a TLS port, or TLS to a plain one", severity: SeverityError, reads: "transport protocol against the chain", suppresses: []string{"HT3003", "HT4009"}, find: ht3006},
	{code: "HT3007", title: "PROXY protocol on one side only", severity: SeverityError, reads: "load balancer annotation against the proxy_protocol listener filter", find: ht3007},
	{code: "HT3008", title: "configuration rejected, or replicas disagree", severity: SeverityError, reads: "error_state, versions and answers of replicas", find: ht3008},
	{code: "HT3009", title: "UDP through a gateway", severity: SeverityError, reads: "Service UDP port, the gateway's listeners", suppresses: []string{"HT3001", "HT3002", "HT1003"}, find: ht3009},
	{code: "HT4001", title: "host is in no virtual host", severity: SeverityError, reads: "domains of the route table", find: ht4001},
	{code: "HT4002", title: "host is known, but no route matches", severity: SeverityError, reads: "routes and the first condition each failed", find: ht4002},
	{code: "HT4003", title: "another VirtualService's route takes the request first", severity: SeverityWarning, reads: "routes of the table and their owners", find: ht4003},
	{code: "HT4004", title: "Host header carries a port the route table does not strip", severity: SeverityError, reads: ":authority against domains, ignore_port_in_host_matching", suppresses: []string{"HT4001", "HT4006"}, find: ht4004},
	{code: "HT4005", title: "redirect loop behind a load balancer that ends TLS", severity: SeverityError, reads: "httpsRedirect, x-forwarded-proto, annotations", suppresses: []string{"HT4009"}, find: ht4005},
	{code: "HT4006", title: "connection coalescing: SNI of one host, request for another", severity: SeverityError, reads: "SNI and :authority", suppresses: []string{"HT4001", "HT4002"}, find: ht4006},
	{code: "HT4007", title: "Gateway hosts leave out the VirtualService's host", severity: SeverityError, reads: "VirtualService hosts against Gateway hosts", suppresses: []string{"HT4001", "HT4002"}, find: ht4007},
	{code: "HT4008", title: "VirtualService binds to a Gateway that does not exist", severity: SeverityError, reads: "VirtualService gateways", suppresses: []string{"HT4001", "HT4002"}, find: ht4008},
	{code: "HT4009", title: "the proxy answers instead of the application", severity: SeverityError, reads: "direct responses, faults, rate limits, redirects", find: ht4009},
	{code: "HT5001", title: "route to a cluster that does not exist", severity: SeverityError, reads: "the route's cluster against CDS", find: ht5001},
	{code: "HT5002", title: "cluster has no endpoint", severity: SeverityError, reads: "EDS, EndpointSlice, selector and subset labels, Deployments scaled to 0", find: ht5002},
	{code: "HT5003", title: "endpoints ejected or unhealthy", severity: SeverityError, reads: "health flags in /clusters, outlier detection", find: ht5003},
	{code: "HT5004", title: "Envoy's endpoints differ from the EndpointSlices", severity: SeverityError, reads: "EDS against EndpointSlices", find: ht5004},
	{code: "HT5005", title: "circuit breaker overflow", severity: SeverityError, reads: "UO in the log, circuit_breakers, overflow counters and open breakers", find: ht5005},
	{code: "HT5006", title: "route timeout", severity: SeverityError, reads: "UT in the log, the route's timeout", find: ht5006},
	{code: "HT5007", title: "idle keep-alive race", severity: SeverityError, reads: "UC within milliseconds in the log", find: ht5007},
	{code: "HT6001", title: "mutual TLS mismatch between client and server", severity: SeverityError, reads: "transport socket for the endpoint against the server's chain, PeerAuthentication and Gateway tls.mode", suppresses: []string{"HT3003", "HT3006"}, find: ht6001},
	{code: "HT6002", title: "RBAC denies", severity: SeverityError, reads: "the policy and rule that matched, the identity seen", find: ht6002},
	{code: "HT6003", title: "NetworkPolicy blocks", severity: SeverityError, reads: "the policies that select the Pod", find: ht6003},
	{code: "HT6004", title: "protocol misdetected", severity: SeverityError, reads: "port name and appProtocol against the listener's filters", find: ht6004},
	{code: "HT6005", title: "destination is hidden from this proxy", severity: SeverityError, reads: "exportTo, Sidecar egress hosts, the absent cluster", suppresses: []string{"HT5001", "HT7001", "HT7002", "HT6001"}, find: ht6005},
	{code: "HT6006", title: "JWT or external authorization refuses", severity: SeverityError, reads: "jwt_authn requirement, ext_authz, requestPrincipals", suppresses: []string{"HT6002"}, find: ht6006},
	{code: "HT7001", title: "REGISTRY_ONLY blocks an external host", severity: SeverityError, reads: "BlackHoleCluster, block_all virtual host", find: ht7001},
	{code: "HT7002", title: "traffic passes the mesh without a ServiceEntry", severity: SeverityInfo, reads: "PassthroughCluster", find: ht7002},
	{code: "HT7003", title: "egress gateway bypassed", severity: SeverityError, reads: "the sidecar's cluster against the VirtualService's route", suppresses: []string{"HT7002"}, find: ht7003},
	{code: "HT7004", title: "addresses of an HTTP ServiceEntry are ignored", severity: SeverityError, reads: "ServiceEntry ports[].protocol against addresses", suppresses: []string{"HT7001"}, find: ht7004},
	{code: "HT7005", title: "TLS originated twice, or not at all", severity: SeverityError, reads: "the cluster's TLS context against the client's scheme", find: ht7005},
	{code: "HT8001", title: "application does not listen there", severity: SeverityError, reads: "sockets in the Pod", find: ht8001},
	{code: "HT8002", title: "container is not ready", severity: SeverityError, reads: "container statuses", suppresses: []string{"HT5003", "HT5002"}, find: ht8002},
	{code: "HT8003", title: "HTTP/1.0 client refused", severity: SeverityError, reads: "low_version", suppresses: []string{"HT4009"}, find: ht8003},
	{code: "HT9001", title: "the log shows another way than the configuration predicts", severity: SeverityWarning, reads: "the latest log line, the connection table and counters beside the predicted hop", find: ht9001},
	{code: "HT9002", title: "access log is off or hides needed fields", severity: SeverityWarning, reads: "accessLogFile, the format's operators", find: ht9002},
}

// Fault describes one code that a finding can carry.
type Fault struct {
	Code     string
	Title    string
	Severity Severity // as a rule; a finding may be less severe in its case
	Reads    string   // what the rule looks at
	// Suppresses are the codes that are only symptoms where this one is found.
	Suppresses []string
	Retired    bool // listed so that the code is never used again; nothing finds it
}

// Faults lists every code, in their order, retired ones included.
func Faults() []Fault {
	out := make([]Fault, len(rules))
	for i, r := range rules {
		out[i] = Fault{Code: r.code, Title: r.title, Severity: r.severity, Reads: r.reads, Suppresses: slices.Clone(r.suppresses), Retired: r.find == nil}
	}
	return out
}

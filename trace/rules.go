package trace

// rules is every fault hoptrail names, by code. Adding one is a row here, its
// function in a file of its name, a world and a page in docs/findings. A code is
// never used for anything else; a retired one stays listed without a function.
var rules = []rule{
	{code: "HT0001", title: "data not collected", severity: SeverityWarning, reads: "what the walk wanted and did not get", find: ht0001},
	{code: "HT0002", title: "something that cannot be evaluated could change the verdict", severity: SeverityWarning, reads: "hops that are undetermined", find: ht0002},
	{code: "HT1001", title: "name does not resolve to an address of this cluster", severity: SeverityError, reads: "DNS answers against the cluster's addresses", find: ht1001},
	{code: "HT1002", title: "port is not exposed by the Service", severity: SeverityError, reads: "Service ports and nodePorts", find: ht1002},
	{code: "HT4001", title: "host is in no virtual host", severity: SeverityError, reads: "domains of the route table", find: ht4001},
	{code: "HT4002", title: "host is known, but no route matches", severity: SeverityError, reads: "routes and the first condition each failed", find: ht4002},
	{code: "HT7001", title: "REGISTRY_ONLY blocks an external host", severity: SeverityError, reads: "BlackHoleCluster, block_all virtual host", find: ht7001},
}

package envoyadmin

// priorityState counts the hosts of one priority level.
type priorityState struct {
	hosts, healthy, degraded, excluded int
	overprovisioning                   int // percent; 0 is Envoy's 140

	weights *priorityWeights // with weighted_priority_health, in place of the numbers, for availability alone
}

// priorityWeights add up the weights of one priority's hosts; total leaves out
// the excluded ones.
type priorityWeights struct{ total, healthy, degraded int }

// availability is how much of the load a priority can take, in percent.
func (s *priorityState) availability() (healthy, degraded int) {
	total, h, d := s.hosts-s.excluded, s.healthy, s.degraded
	if total <= 0 {
		return 0, 0
	}
	if w := s.weights; w != nil {
		total, h, d = w.total, w.healthy, w.degraded
	}
	f := s.overprovisioning
	if f == 0 {
		f = 140
	}
	if total <= 0 {
		return 0, 0
	}
	return min(100, f*h/total), min(100, f*d/total)
}

// priorityLoad is how load spreads over priorities, in percent.
type priorityLoad struct {
	healthy, degraded []int
	panic             []bool
}

// spread computes the load of each priority as
// LoadBalancerBase::recalculatePerPriorityState does; threshold is the panic
// threshold in percent. All zero means that no host can be chosen.
//
//	availability = min(100, overprovisioning × healthy / (hosts − excluded))
//	load fills the first priority, then the next; degraded hosts take what is left
//	under 100 % together, a priority below the threshold panics: all its hosts count
//	all priorities in panic: load follows the number of hosts
//
// Source: source/extensions/load_balancing_policies/common/load_balancer_impl.cc.
func spread(state []priorityState, threshold int) priorityLoad {
	n := len(state)
	l := priorityLoad{healthy: make([]int, n), degraded: make([]int, n), panic: make([]bool, n)}
	if n == 0 {
		return l
	}
	health, degraded := make([]int, n), make([]int, n)
	total := 0
	for i := range state {
		health[i], degraded[i] = state[i].availability()
		total += health[i] + degraded[i]
	}
	total = min(total, 100)
	allPanic := true
	if total == 0 {
		allPanic = threshold > 0
		for i := range l.panic {
			l.panic[i] = allPanic
		}
	} else {
		left := 100
		fill := func(load, avail []int) int {
			first := -1
			for i := range load {
				if first < 0 && avail[i] > 0 {
					first = i
				}
				load[i] = min(left, avail[i]*100/total)
				left -= load[i]
			}
			return first
		}
		firstHealthy := fill(l.healthy, health)
		firstDegraded := fill(l.degraded, degraded)
		switch {
		case left > 0 && firstHealthy >= 0:
			l.healthy[firstHealthy] += left
		case left > 0 && firstDegraded >= 0:
			l.degraded[firstDegraded] += left
		}
		for i, s := range state {
			c := s.hosts - s.excluded
			percent := 0.0
			if c > 0 {
				percent = 100 * float64(s.healthy+s.degraded) / float64(c)
			}
			l.panic[i] = total != 100 && percent < float64(threshold)
			allPanic = allPanic && l.panic[i]
		}
	}
	if allPanic {
		l.byHosts(state)
	}
	return l
}

// byHosts is recalculateLoadInTotalPanic.
func (l *priorityLoad) byHosts(state []priorityState) {
	total, left, first := 0, 100, -1
	for _, s := range state {
		total += s.hosts
	}
	if total == 0 {
		clear(l.healthy)
		clear(l.degraded)
		return
	}
	for i, s := range state {
		if first < 0 && s.hosts > 0 {
			first = i
		}
		l.healthy[i] = 100 * s.hosts / total
		l.degraded[i] = 0
		left -= l.healthy[i]
	}
	l.healthy[first] += left
}

// Package envoyadmin reads what an Envoy's admin API prints and evaluates requests against it.
package envoyadmin

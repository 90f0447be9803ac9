package meetings

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells the operator of calls. The numbers are the deployment's, the same at every process; what was refused is this process's.
type collector struct {
	s                           *Server
	orders, participants, calls *prometheus.Desc
	webhooks                    *prometheus.Desc

	mu    sync.Mutex
	asked time.Time
	last  [3]int
}

// collectedFor is for how long the numbers are not asked again, collectPatience how long they may take.
const (
	collectedFor    = 5 * time.Second
	collectPatience = 2 * time.Second
)

func newCollector(s *Server) *collector {
	return &collector{
		s:            s,
		orders:       prometheus.NewDesc("roomline_calls_orders", "What LiveKit has still to be told: more than a few for long mean that it does not answer.", nil, nil),
		participants: prometheus.NewDesc("roomline_calls_participants", "Devices in calls, as LiveKit says.", nil, nil),
		calls:        prometheus.NewDesc("roomline_calls", "Calls that are on.", nil, nil),
		webhooks:     prometheus.NewDesc("roomline_calls_webhooks_total", "What LiveKit has said to this process, and what was refused: forged, old or repeated.", []string{"outcome"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.orders, c.participants, c.calls, c.webhooks} {
		to <- d
	}
}

// Collect implements prometheus.Collector. While the database is away the numbers of before are told.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	n := c.numbers()
	for i, d := range []*prometheus.Desc{c.orders, c.participants, c.calls} {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n[i]))
	}
	to <- prometheus.MustNewConstMetric(c.webhooks, prometheus.CounterValue, float64(c.s.webhooks.believed.Load()), "believed")
	to <- prometheus.MustNewConstMetric(c.webhooks, prometheus.CounterValue, float64(c.s.webhooks.refused.Load()), "refused")
}

func (c *collector) numbers() [3]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < collectedFor {
		return c.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectPatience)
	defer cancel()
	if orders, participants, calls, err := c.s.cfg.Store.CountRTC(ctx); err == nil {
		c.last = [3]int{orders, participants, calls}
	}
	c.asked = time.Now()
	return c.last
}

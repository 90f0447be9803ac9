package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of all requests. Two handlers on one registry share them.
type metrics struct {
	requests *prometheus.CounterVec   // route, code
	seconds  *prometheus.HistogramVec // route
	inFlight prometheus.Gauge
	panics   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		requests: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "roomline_http_requests_total",
			Help: "Requests answered, by route and status; 499 means that the client went away.",
		}, []string{"route", "code"})),
		seconds: register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "roomline_http_request_seconds",
			Help:    "Time from the request's headers to its answer, by route; long polls included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}, []string{"route"})),
		inFlight: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "roomline_http_requests_in_flight",
			Help: "Requests being served now, long polls included.",
		})),
		panics: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "roomline_http_panics_total",
			Help: "Handlers that panicked. Anything above zero is a bug.",
		})),
	}
}

// register registers a collector, or returns the one that is registered already.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := already.ExistingCollector.(C); ok {
			return old
		}
	}
	if err != nil {
		panic("httpapi: register metrics: " + err.Error())
	}
	return c
}

// figures are the metrics of one route, looked up once: the labels of a request are hashed only when it fails.
type figures struct {
	metrics *metrics
	route   string
	ok      prometheus.Counter
	seconds prometheus.Observer
}

func (m *metrics) forRoute(label string) *figures {
	return &figures{
		metrics: m,
		route:   label,
		ok:      m.requests.WithLabelValues(label, "200"),
		seconds: m.seconds.WithLabelValues(label),
	}
}

func (f *figures) observe(status int, took time.Duration) {
	f.seconds.Observe(took.Seconds())
	if status == http.StatusOK || status == 0 { // net/http turns silence into 200
		f.ok.Inc()
		return
	}
	f.metrics.requests.WithLabelValues(f.route, strconv.Itoa(status)).Inc()
}

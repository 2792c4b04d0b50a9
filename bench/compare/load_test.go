package compare

import "testing"

const (
	wrkOutput = `Running 1s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms  120.00us   5.00ms   90.00%
  16500 requests in 1.10s, 2.06MB read
Requests/sec:  15000.50
Transfer/sec:      1.87MB
`
	h2loadOutput = `starting benchmark...
finished in 1.12s, 1340.30 req/s, 143.98KB/s
requests: 1500 total, 1500 started, 1500 done, 1500 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1500 2xx, 0 3xx, 0 4xx, 0 5xx
`
)

func TestResultsAreRead(t *testing.T) {
	for name, test := range map[string]struct {
		output string
		rate   float64
		count  int
	}{
		"wrk":    {wrkOutput, 15000.5, 16500},
		"h2load": {h2loadOutput, 1340.3, 1500},
	} {
		rate, count, err := read([]byte(test.output))
		if err != nil || rate != test.rate || count != test.count {
			t.Errorf("%s: %v, %d, %v", name, rate, count, err)
		}
	}
}

func TestResultsWithOtherAnswersThan200AreRefused(t *testing.T) {
	for name, output := range map[string]string{
		"wrk, refused":      wrkOutput + "  Non-2xx or 3xx responses: 16500\n",
		"wrk, disconnected": wrkOutput + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
		"h2load, refused": `finished in 1.12s, 1340.30 req/s, 143.98KB/s
requests: 1500 total, 1500 started, 1500 done, 1499 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 1499 2xx, 0 3xx, 1 4xx, 0 5xx
`,
		"nothing": "",
	} {
		if _, _, err := read([]byte(output)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLogOfRequestsIsRead(t *testing.T) {
	took, err := readLog("1764180000000001\t200\t350\n1764180000000101\t200\t1350\n")
	if err != nil || len(took) != 2 || took[0].Microseconds() != 350 || took[1].Microseconds() != 1350 {
		t.Errorf("%v, %v", took, err)
	}
	for name, log := range map[string]string{
		"another status": "1764180000000001\t401\t350\n",
		"half a line":    "1764180000000001\t200\n",
		"no number":      "1764180000000001\t200\tx\n",
	} {
		if _, err := readLog(log); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

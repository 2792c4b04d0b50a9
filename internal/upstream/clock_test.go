package upstream

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestClocksThatAreApartAreNewsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		answer := func(ahead time.Duration) http.Header {
			return http.Header{"Date": {time.Now().Add(ahead).UTC().Format(http.TimeFormat)}}
		}
		look := func(header http.Header, ahead time.Duration, news bool) {
			t.Helper()
			got, isNews := c.Look(header)
			if got != ahead || isNews != news {
				t.Errorf("%v, news %v; want %v, %v", got, isNews, ahead, news)
			}
		}
		look(answer(30*time.Second), 0, false)
		look(http.Header{}, 0, false)
		look(http.Header{"Date": {"soon"}}, 0, false)
		cached := answer(-time.Hour)
		cached.Set("Age", "3600")
		look(cached, 0, false)
		look(answer(-7*time.Minute), -7*time.Minute, true)
		if got := c.Ahead(); got != -7*time.Minute {
			t.Errorf("kept: %v", got)
		}
		for range 3 { // it goes to and fro
			time.Sleep(time.Minute)
			look(answer(-8*time.Minute), -8*time.Minute, false)
			look(answer(0), 0, false)
		}
		if got := c.Ahead(); got != 0 {
			t.Errorf("kept of clocks that agree: %v", got)
		}
		time.Sleep(time.Hour)
		look(answer(2*time.Minute), 2*time.Minute, true)
		time.Sleep(time.Hour)
		if got := c.Ahead(); got != 0 {
			t.Errorf("kept after an hour: %v", got)
		}
	})
}

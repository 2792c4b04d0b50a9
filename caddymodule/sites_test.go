package caddymodule_test

import (
	"strings"
	"testing"
)

// told returns what the doctor tells of sites, by check, and fails if it makes anything of it.
func (s *sidecar) told(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	d := s.diagnose(t)
	for _, f := range d.Findings {
		if f.Warning && (f.Check == "listener" || f.Check == "site") {
			found[f.Check] += f.Detail
		}
	}
	if !d.Healthy {
		t.Errorf("got %+v", d)
	}
	return found
}

func TestSitesThatOthersCanUseAreTold(t *testing.T) {
	s := administered(t, nil)
	s.site = s.address[strings.LastIndex(s.address, ":"):]
	const to = "upstream_auth billing 127.0.0.1:1"
	for site, listener := range map[string]string{
		to:                              "whoever reaches :PORT can use the tenants of provider billing",
		"bind 0.0.0.0 127.0.0.1\n" + to: "whoever reaches 0.0.0.0:PORT can use",
		"bind 127.0.0.1 ::1\n" + to:     "",
		"bind unix/" + s.path("app.sock") + "\n" + to:                                                     "",
		to + " {\nauthorize peer {\nuid 1\n}\n}":                                                          "",
		"basic_auth {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n" + to:        "",
		"basic_auth /admin {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n" + to: "whoever reaches",
		"forward_auth 127.0.0.1:1 {\nuri /auth\n}\n" + to:                                                 "",
		"handle /crm/* {\n" + to + "\n}\nhandle {\nrespond 404\n}":                                        "whoever reaches",
	} {
		s.start(t, apiKey, site)
		got := s.told(t)["listener"]
		want := strings.Replace(listener, "PORT", s.address[strings.LastIndex(s.address, ":")+1:], 1)
		if !strings.HasPrefix(got, want) || want == "" && got != "" || want != "" && !strings.Contains(got, "Have the site listen for this machine alone") {
			t.Errorf("%s: got %q, want %q", site, got, want)
		}
	}
}

func TestSitesThatAnswerOneLoopbackHostAreTold(t *testing.T) {
	s := administered(t, nil)
	port := s.address[strings.LastIndex(s.address, ":"):]
	const to = "bind 127.0.0.1\nupstream_auth billing 127.0.0.1:1"
	for address, want := range map[string]string{
		"http://127.0.0.1" + port: "the site of provider billing is for requests with the Host 127.0.0.1: others get an empty 200",
		"http://localhost" + port: "the site of provider billing is for requests with the Host localhost",
		"http://app" + port:       "",
		port:                      "",
		port + " {\nbind 127.0.0.1\nerror 404\n}\nhttp://127.0.0.1" + port: "",
	} {
		s.site = address
		s.start(t, apiKey, to)
		if got := s.told(t)["site"]; !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}

package budget

// Remembered is how many tenants something is kept of.
func (p *Provider) Remembered() (n int) {
	for i := range p.usage.tenants {
		n += len(p.usage.tenants[i].tenants)
	}
	return n
}

// Numbers as people read them.

export function count(value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString("en-GB") : "–";
}

// 1234567 -> "1.23 M"
export function short_count(value) {
  if (!Number.isFinite(value)) return "–";
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) {
      const divisor = unit === "k" ? 1e3 : size;
      return `${significant(value / divisor)} ${unit}`;
    }
  }
  return count(value);
}

function significant(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  for (const [size, unit] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${significant(value / size)} ${unit}`;
  }
  return `${value} B`;
}

export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  return value >= 100 ? count(value) : value >= 10 ? value.toFixed(1) : value.toFixed(value === 0 ? 0 : 2);
}

export function milliseconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value >= 60000) return duration(value / 1000);
  if (value >= 1000) return `${(value / 1000).toFixed(value >= 10000 ? 1 : 2)} s`;
  return `${value >= 10 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

export function percent(share) {
  return Number.isFinite(share) ? `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %` : "–";
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds)} s`;
}

// Numbers as people read them.

const two = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const price = (value: number): string => two.format(value);
export const volume = (value: number): string => short.format(value);
export const percent = (value: number | null): string => (value === null ? "n/a" : `${two.format(value * 100)} %`);
export const ratio = (value: number | null): string => (value === null ? "n/a" : two.format(value));

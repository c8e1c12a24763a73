mod fixture;
mod layers;
mod report;
mod rules;
mod secrecy;
mod unknown;
